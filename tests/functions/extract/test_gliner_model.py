"""Which GLiNER the setting `model` stands for, and what an operator is told when it means nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

from common.errors import ModelLoadFailed
from common.remote_files import HubFile
from common.settings import ROOT, ExtractSettings
from functions.extract.gliner import GlinerConfig
from functions.extract.model import PRESETS, Gliner, resolve


def gliner(model: str, **fields: object) -> Gliner:
    return resolve(ExtractSettings.model_validate({"model": model, **fields}))


@pytest.mark.parametrize("size", ["small", "medium", "large", "multi"])
def test_a_preset_of_gliner(size: str) -> None:
    assert len(PRESETS) == 4
    found = gliner(f"gliner-{size}-v2.1")
    repo = f"onnx-community/gliner_{size}-v2.1"
    names = "onnx/model.onnx", "gliner_config.json", "tokenizer.json"
    assert found.files == tuple(HubFile(repo, name) for name in names)
    assert found.name == f"GLiNER-{size}-v2.1"
    assert gliner(f"gliner-{size}-v2.1", model_file="onnx/model_int8.onnx").model == HubFile(
        repo, "onnx/model_int8.onnx"
    )


def test_a_gliner_of_ones_own() -> None:
    found = gliner("hf://owner/name@v2")
    assert {(file.repo, file.revision) for file in found.files if isinstance(file, HubFile)} == {("owner/name", "v2")}
    assert (found.model, found.name) == (HubFile("owner/name", "onnx/model.onnx", "v2"), "name")
    assert gliner("hf://owner/name/int8.onnx").model == HubFile("owner/name", "int8.onnx")
    found = gliner("models/mine", model_name="ours")
    folder = ROOT / "models/mine"
    assert found.files == (folder / "model.onnx", folder / "gliner_config.json", folder / "tokenizer.json")
    assert (found.name, gliner("models/mine").name, gliner("embedded").name) == ("ours", "mine", "embedded-gliner")
    assert all(isinstance(file, Path) and file.is_file() for file in gliner("embedded").files)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("gliner-small", r"'gliner-small' is no preset \(did you mean gliner-small-v2\.1\?\) and no path to a folder"),
        ("hf://owner", r"is no file of the hub"),
        ("https://example.com/a.onnx?key=word", r"^https://example\.com/a\.onnx is one file, a GLiNER is several"),
    ],
)
def test_a_gliner_that_means_nothing(model: str, message: str) -> None:
    with pytest.raises(ModelLoadFailed, match=message):
        gliner(model)


def encoder(model_type: str, positions: int, **fields: object) -> dict[str, Any]:
    return {"model_type": model_type, "max_position_embeddings": positions, **fields}


@pytest.mark.parametrize(
    ("config", "tokens"),
    [
        (None, 1024),
        ({"model_type": "t5"}, 1024),
        (encoder("bert", 512), 512),
        (encoder("bert", 8192), 1024),
        (encoder("xlm-roberta", 514, pad_token_id=1), 512),
        (encoder("deberta-v2", 512, relative_attention=True, position_biased_input=False), 1024),
        (encoder("deberta-v2", 512, relative_attention=True), 1024),
        (encoder("deberta-v2", 512, relative_attention=True, position_biased_input=True), 512),
        (encoder("deberta-v2", 512, relative_attention=False, position_biased_input=True), 512),
    ],
    ids=str,
)
def test_a_window_has_no_more_tokens_than_the_encoder_has_positions(
    config: dict[str, Any] | None, tokens: int, tmp_path: Path
) -> None:
    path = tmp_path / "gliner_config.json"
    path.write_text(json.dumps({"max_width": 12, "max_len": 384, "encoder_config": config}))
    assert GlinerConfig.read(path).max_tokens == tokens
