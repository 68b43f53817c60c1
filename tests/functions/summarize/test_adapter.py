"""A LoRA adapter: it changes what the model writes, and a file that is none for it is refused with the reason."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from common import host
from common.errors import ModelLoadFailed
from common.remote_files import HubFile
from common.settings import ROOT, SummarizeSettings
from functions.summarize import adapter, gguf_header, loading, memory, tuning
from functions.summarize.context import LlamaContext, Options, Row, Sampling
from tests.conftest import SettingsEnv
from tests.doubles import tiny_gguf

OPTIONS = Options(threads=1)
SEQUENCE = 0


def written(context: LlamaContext, count: int = 24) -> list[int]:
    """The likeliest tokens behind a short prompt."""
    rows = [Row(token, place, SEQUENCE, False) for place, token in enumerate(context.tokenize("The town said", False))]
    context.forget(SEQUENCE)
    context.decode([*rows[:-1], Row(rows[-1].token, len(rows) - 1, SEQUENCE, True)])
    sampler, tokens, row = context.sampler(Sampling(count, 0, None)), list[int](), len(rows) - 1
    while len(tokens) < count:
        tokens.append(context.sample(sampler, row))
        context.decode([Row(tokens[-1], len(rows) + len(tokens) - 1, SEQUENCE, True)])
        row = 0
    sampler.free()
    return tokens


def answer(model: Path, lora: Path | None, **options: Any) -> list[int]:
    context = LlamaContext(model, 256, 1, Options(**{"threads": 1, **options}), lora)
    try:
        return written(context)
    finally:
        context.close()


def test_an_adapter_changes_what_is_written_and_one_of_zeros_does_not(model: Path, lora: Path, tmp_path: Path) -> None:
    bare = answer(model, None)
    assert answer(model, lora) != bare
    assert answer(model, tiny_gguf.write_adapter(tmp_path / "zeros.gguf", scale=0.0)) == bare


def test_an_adapter_writes_what_the_merged_weights_write(model: Path, lora: Path, tmp_path: Path) -> None:
    matrices = {tensor.name: tensor.data for tensor in gguf.GGUFReader(lora).tensors}
    merged = tmp_path / "merged.gguf"
    merged.write_bytes(model.read_bytes())
    for tensor in gguf.GGUFReader(merged, "r+").tensors:
        if f"{tensor.name}.lora_a" in matrices:
            tensor.data[:] += matrices[f"{tensor.name}.lora_b"] @ matrices[f"{tensor.name}.lora_a"]
    assert answer(merged, None) == answer(model, lora)


def test_an_adapter_holds_for_a_context_that_was_made_anew(model: Path, lora: Path) -> None:
    context = LlamaContext(model, 256, 1, OPTIONS, lora)
    before = written(context)
    context.rebuild()
    assert written(context) == before
    context.close()
    context.close()


def test_an_adapter_works_on_weights_that_are_laid_out_anew(model: Path, lora: Path) -> None:
    assert answer(model, lora, repack=True) == answer(model, lora)


def tensors(path: Path, **shapes: Sequence[int]) -> Path:
    """An adapter with matrices of these shapes, columns first; `__` stands for a dot."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    for name, shape in shapes.items():
        kind = np.int32 if name.endswith("_int") else np.float32
        writer.add_tensor(name.removesuffix("_int").replace("__", "."), np.ones(shape, kind))
    return tiny_gguf.finish(writer, path)


Q = "blk__0__attn_q__weight__lora_"
Make = Callable[[Path], Path]
FOREIGN: dict[str, tuple[Make, str]] = {
    "another architecture": (
        lambda path: tiny_gguf.write_adapter(path, "qwen2"),
        "is an adapter for architecture 'qwen2'; the model is 'llama'",
    ),
    "a model": (lambda path: tiny_gguf.write(path, "llama"), "is no adapter but a model"),
    "another type": (
        lambda path: tiny_gguf.write_adapter(path, values={"adapter.type": "control"}),
        "is an adapter of type 'control'; only 'lora' can be used",
    ),
    "a type that is no text": (
        lambda path: tiny_gguf.write_adapter(path, values={"adapter.type": 7}),
        "is an adapter of type ''",
    ),
    "a scale that is no float": (
        lambda path: tiny_gguf.write_adapter(path, values={"adapter.lora.alpha": 16}),
        r"adapter\.lora\.alpha that is no floating-point number",
    ),
    "an activated one": (
        lambda path: tiny_gguf.write_adapter(path, values={"adapter.alora.invocation_tokens": [1, 2]}),
        "is an activated LoRA",
    ),
    "other shapes": (
        lambda path: tensors(path, **{f"{Q}a": (4, 128), f"{Q}b": (128, 4)}),
        r"has matrices of 128x4 and 4x128 for blk\.0\.attn_q\.weight, which is 64x64 in the model",
    ),
    "two ranks": (lambda path: tensors(path, **{f"{Q}a": (4, 64), f"{Q}b": (64, 8)}), "has matrices of 64x4 and 8x64"),
    "a third dimension": (
        lambda path: tensors(path, **{f"{Q}a": (2, 4, 64), f"{Q}b": (2, 64, 4)}),
        "64x4x2 and 4x64x2",
    ),
    "half a pair": (lambda path: tensors(path, **{f"{Q}a": (4, 64)}), "lacks one of the two matrices"),
    "more layers": (
        lambda path: tensors(path, **{Q.replace("0", "9") + "a": (4, 64), Q.replace("0", "9") + "b": (64, 4)}),
        r"changes blk\.9\.attn_q\.weight, which the model does not have",
    ),
    "integers": (
        lambda path: tensors(path, **{f"{Q}a_int": (4, 64), f"{Q}b_int": (64, 4)}),
        "of numbers that are none of F32, F16, BF16 and Q8_0",
    ),
    "whole weights": (lambda path: tensors(path, blk__0__attn_q__weight=(64, 64)), "is no matrix of a LoRA"),
    "nothing": (tensors, "holds no matrices"),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_foreign_adapter_is_refused_with_the_reason(what: str, model: Path, tmp_path: Path) -> None:
    make, reason = FOREIGN[what]
    with pytest.raises(ModelLoadFailed, match=rf"^FACTORY_SUMMARIZE__ADAPTER: lora\.gguf .*{reason}"):
        LlamaContext(model, 256, 1, OPTIONS, make(tmp_path / "lora.gguf"))


def test_an_adapter_of_the_embeddings_is_refused_where_they_are_the_output_as_well(tmp_path: Path) -> None:
    words = gguf.GGUFReader(tiny_gguf.write(tmp_path / "a.gguf", "llama")).fields["llama.vocab_size"].contents()
    shapes = {"token_embd__weight__lora_a": (words, 4), "token_embd__weight__lora_b": (64, 4)}
    lora = tensors(tmp_path / "lora.gguf", **shapes)
    LlamaContext(tiny_gguf.write(tmp_path / "apart.gguf", "llama"), 256, 1, OPTIONS, lora).close()
    with pytest.raises(ModelLoadFailed, match="the output matrix of this model as well"):
        LlamaContext(tiny_gguf.write(tmp_path / "tied.gguf", "llama", tied=True), 256, 1, OPTIONS, lora)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_an_adapter_that_was_cut_off_is_refused(share: float, model: Path, lora: Path, tmp_path: Path) -> None:
    content = lora.read_bytes()
    path = tmp_path / "cut.gguf"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ModelLoadFailed, match=r"cut\.gguf (cannot be read as a GGUF|was cut off: \d+ bytes)"):
        LlamaContext(model, 256, 1, OPTIONS, path)


@pytest.mark.parametrize("wanted", [None, "", "none", " none "])
def test_no_adapter(wanted: str | None) -> None:
    assert adapter.resolve(SummarizeSettings(adapter=wanted)) is None


def test_an_adapter_is_found_where_a_model_would_be() -> None:
    assert adapter.resolve(SummarizeSettings(adapter="models/mine.gguf")) == ROOT / "models/mine.gguf"
    assert adapter.resolve(SummarizeSettings(adapter="mine.gguf")) == ROOT / "mine.gguf"
    assert adapter.resolve(SummarizeSettings(adapter="hf://owner/name/lora.gguf")) == HubFile("owner/name", "lora.gguf")


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ("hf://owner/name", "hf://owner/name names no file; hf://owner/name/file.gguf does"),
        ("hf://owner", "is no file of the hub"),
        ("https:///lora.gguf", "is no address: it names no host"),
        ("lora.gguf", "there is no file"),
    ],
)
def test_an_address_that_means_nothing_names_the_setting(wanted: str, reason: str, settings_env: SettingsEnv) -> None:
    settings_env(SUMMARIZE__ADAPTER=wanted)
    with pytest.raises(ModelLoadFailed, match=rf"^FACTORY_SUMMARIZE__ADAPTER: .*{reason}"):
        loading.load(lambda _: None)


def test_the_engine_tells_of_its_adapter(model: Path, lora: Path, settings_env: SettingsEnv) -> None:
    settings_env(SUMMARIZE__MODEL=model, SUMMARIZE__ADAPTER=lora)
    assert loading.load(lambda _: None).facts == {"adapter": f"lora.gguf, {lora.stat().st_size / 1e6:.1f} MB"}


def test_an_adapter_counts_when_memory_is_checked(model: Path, lora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "memory_bytes", lambda: 10**12)
    needed = memory.cache_bytes(gguf_header.read(model).values, 512) + model.stat().st_size + memory.MARGIN_BYTES
    memory.check(model, 512, needed)
    with pytest.raises(ModelLoadFailed, match=r"tiny\.gguf needs"):
        memory.check(model, 512, needed, lora)


def test_what_was_measured_with_another_adapter_does_not_count(
    model: Path, lora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "MIN_MODEL_BYTES", 0)
    settings = SummarizeSettings(cache_folder=tmp_path / "cache")
    kept = Options(threads=1, repack=False, micro_batch=96, flash_attention=True)
    tuning.save(model, settings, {}, [tuning.Measurement(kept, 64, 0.01, 0.1, True)], lora)
    monkeypatch.setattr(tuning, "measure", lambda *_: [])
    assert tuning.choose(model, settings, lora) == kept
    assert tuning.choose(model, settings) != kept
    os.utime(lora, (1, 1))
    assert tuning.choose(model, settings, lora) != kept


def test_the_measuring_process_loads_the_adapter(model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    foreign = tiny_gguf.write_adapter(tmp_path / "foreign.gguf", "qwen2")
    assert not tuning.measure(model, 120, {"threads": 1}, foreign)
    assert "is an adapter for architecture 'qwen2'" in caplog.text
