"""What is no decoder is refused by the name of what it is, before llama.cpp has it."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.errors import ModelLoadFailed
from functions.summarize import loading, model_kind
from tests.conftest import SettingsEnv
from tests.doubles import tiny_gguf

NEEDED = "/summarize needs a decoder that was tuned to follow instructions"
ENCODER = "an encoder, which reads text and writes none"
DRAFT = "a draft model, the companion of another model"
REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "an embedding model": ("bert", {".pooling_type": 1}, "an embedding model (bert, pooling: mean)"),
    "by its first token": ("nomic-bert", {".pooling_type": 2}, "an embedding model (nomic-bert, pooling: cls)"),
    "of a decoder's shape": ("qwen3", {".pooling_type": 3}, "an embedding model (qwen3, pooling: last)"),
    "without a pooling": ("gemma-embedding", {}, "an embedding model (gemma-embedding)"),
    "an encoder": ("modern-bert", {}, f"{ENCODER} (modern-bert)"),
    "an encoder of Jina's": ("jina-bert-v2", {}, f"{ENCODER} (jina-bert-v2)"),
    "half of T5": ("t5encoder", {}, f"{ENCODER} (t5encoder)"),
    "an encoder unheard of": ("llama", {".attention.causal": False}, f"{ENCODER} (llama)"),
    "T5": ("t5", {}, "an encoder-decoder (t5)"),
    "a reranker": ("qwen3", {".pooling_type": 4}, "a reranker (qwen3), which gives numbers and no text"),
    "a projector": ("clip", {}, "a projector of images or sound, the companion of another model (clip)"),
    "a projector by type": ("clip", {"general.type": "mmproj"}, "a projector of images or sound"),
    "a vocoder": ("wavtokenizer-dec", {}, "a model for speech (wavtokenizer-dec)"),
    "a diffusion model": ("llada", {}, "a diffusion model, which does not write word by word (llada)"),
    "a draft model": ("eagle3", {}, f"{DRAFT} (eagle3)"),
    "statistics": ("llama", {"general.type": "imatrix"}, "a file of type 'imatrix' and no model"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_decoder_is_refused_by_name(what: str, tmp_path: Path, settings_env: SettingsEnv) -> None:
    architecture, values, words = REFUSED[what]
    settings_env(SUMMARIZE__MODEL=tiny_gguf.write_header(tmp_path / "some.gguf", architecture, values=values))
    with pytest.raises(ModelLoadFailed) as error:
        loading.load(lambda _: None)
    assert str(error.value).startswith(f"some.gguf is {words}")
    assert str(error.value).endswith(NEEDED)


Make = Callable[[Path], Path]
FILES: dict[str, tuple[Make, str]] = {
    "a reranker's head": (
        lambda path: tiny_gguf.write_header(path, "llama", "cls.output.weight"),
        "is a reranker (llama), which gives numbers and no text",
    ),
    "a vocabulary": (lambda path: tiny_gguf.write_header(path, "llama", ""), "is a vocabulary without a model"),
    "a later part": (
        lambda path: tiny_gguf.write(path, "llama", values={"split.no": 1, "split.count": 3}),
        "is part 2 of 3: give the first one, with the others beside it",
    ),
    "an adapter": (
        tiny_gguf.write_adapter,
        "is an adapter, which FACTORY_SUMMARIZE__ADAPTER takes: FACTORY_SUMMARIZE__MODEL is the model it was made for",
    ),
    "no layers": (
        lambda path: tiny_gguf.write_header(path, "llama", values={".block_count": 0}),
        "is damaged: it has 0 layers",
    ),
    "too many experts": (
        lambda path: tiny_gguf.write_header(path, "llama", values={".expert_count": 4000, ".expert_used_count": 2}),
        "is damaged: it has 4000 experts and uses 2",
    ),
    "experts that are not there": (
        lambda path: tiny_gguf.write_header(path, "llama", values={".expert_used_count": 2}),
        "is damaged: it has 0 experts and uses 2",
    ),
}


@pytest.mark.parametrize("what", FILES)
def test_what_is_no_model_is_refused_by_name(what: str, tmp_path: Path) -> None:
    make, words = FILES[what]
    with pytest.raises(ModelLoadFailed) as error:
        model_kind.check(make(tmp_path / "some.gguf"))
    assert str(error.value).startswith(f"some.gguf {words}")


@pytest.mark.parametrize("architecture", tiny_gguf.KINDS)
def test_a_decoder_is_loaded(architecture: str, tmp_path: Path, settings_env: SettingsEnv) -> None:
    settings_env(SUMMARIZE__MODEL=tiny_gguf.write(tmp_path / "some.gguf", architecture), SUMMARIZE__TUNING_SECONDS=0)
    assert loading.load(lambda _: None).name == "some"


def test_a_context_is_no_longer_than_the_model_was_trained_for(
    tmp_path: Path, settings_env: SettingsEnv, caplog: pytest.LogCaptureFixture
) -> None:
    path = tiny_gguf.write(tmp_path / "short.gguf", "llama", values={"context_length": 1024})
    settings_env(SUMMARIZE__MODEL=path, SUMMARIZE__CONTEXT="none")
    assert loading.load(lambda _: None).context_tokens == 1024
    caplog.set_level(logging.WARNING, loading.__name__)
    settings_env(SUMMARIZE__MODEL=path, SUMMARIZE__CONTEXT=2048)
    assert loading.load(lambda _: None).context_tokens == 2048
    assert "FACTORY_SUMMARIZE__CONTEXT is 2048, but short.gguf was trained for 1024 tokens" in caplog.text
