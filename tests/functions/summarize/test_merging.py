"""An adapter becomes part of a model's weights, and what cannot be merged is left beside them."""

import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from common.errors import ModelLoadFailed
from functions.summarize import merging
from tests.doubles import tiny_gguf


def weights(path: Path) -> dict[str, "np.ndarray[tuple[int, ...], np.dtype[np.floating[Any]]]"]:
    return {tensor.name: gguf.dequantize(tensor.data, tensor.tensor_type) for tensor in gguf.GGUFReader(path).tensors}


def test_each_weight_is_the_models_and_what_the_adapter_adds_up_to_rounding(
    model: Path, lora: Path, tmp_path: Path
) -> None:
    made = merging.merged(model, lora, tmp_path)
    assert made is not None
    before, after, parts = weights(model), weights(made), weights(lora)
    alpha = float(gguf.GGUFReader(lora).fields["adapter.lora.alpha"].contents())
    assert before.keys() == after.keys()
    changed = 0
    for name, weight in before.items():
        if (a := parts.get(f"{name}.lora_a")) is not None:
            weight = weight + alpha / len(a) * parts[f"{name}.lora_b"] @ a
            changed += 1
        # 8 bits: of the largest of 32 numbers, a 254th is half a step.
        assert np.abs(after[name] - weight).max() <= np.abs(weight).max() / 250
    assert changed


def test_what_else_the_file_says_of_the_model_stays(model: Path, lora: Path, tmp_path: Path) -> None:
    made = merging.merged(model, lora, tmp_path)
    assert made is not None
    before, after = (
        {name: field.contents() for name, field in gguf.GGUFReader(path).fields.items() if "." in name}
        for path in (model, made)
    )
    for fields in (before, after):
        for written_anew in ("general.file_type", "GGUF.version", "GGUF.tensor_count", "GGUF.kv_count"):
            fields.pop(written_anew, None)
    assert before == after


def test_it_is_made_once_and_anew_for_another_adapter(model: Path, lora: Path, tmp_path: Path) -> None:
    made = merging.merged(model, lora, tmp_path)
    assert made is not None
    written = made.stat().st_mtime_ns
    assert merging.merged(model, lora, tmp_path) == made
    assert made.stat().st_mtime_ns == written
    other = tiny_gguf.write_adapter(tmp_path / "lora.gguf", scale=0.5)
    assert merging.merged(model, other, tmp_path) not in (None, made)
    assert not made.exists()


def test_an_adapter_for_another_model_is_refused(model: Path, tmp_path: Path) -> None:
    foreign = tiny_gguf.write_adapter(tmp_path / "foreign.gguf", "qwen2")
    with pytest.raises(ModelLoadFailed, match="the model is 'llama'"):
        merging.merged(model, foreign, tmp_path)
    assert not list(tmp_path.glob("*+*")) + list(tmp_path.glob(".merging-*/"))


@pytest.mark.parametrize("lack", ["library", "folder"])
def test_what_cannot_be_merged_is_left_beside(
    lack: str,
    model: Path,
    lora: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = tmp_path / "folder"
    if lack == "library":
        monkeypatch.setitem(sys.modules, "gguf", None)
    else:
        folder.write_text("a file", encoding="utf-8")
    assert merging.merged(model, lora, folder) is None
    assert "computed beside it" in caplog.text
