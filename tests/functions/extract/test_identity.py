"""Models whose weights are in files of their own."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from common.errors import ModelLoadFailed
from common.remote_files import HubFile
from common.settings import ExtractSettings
from functions.extract import engine
from functions.extract.graph import identity
from functions.extract.graph.identity import FOLDER, digest, weights
from functions.extract.graph.prepare import prepared
from functions.extract.model import resolve
from functions.extract.model import weights as files_of_weights
from tests.functions.extract.test_graph import SMALL


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A GLiNER of a few kilobytes; its weights are in model.onnx_data."""
    path = tmp_path / "model.onnx"
    onnx.save_model(
        onnx.load(str(SMALL)), str(path), save_as_external_data=True, location="model.onnx_data", size_threshold=64
    )
    return path


def elsewhere(location: str) -> onnx.TensorProto:
    tensor = numpy_helper.from_array(np.zeros(3, np.float32), "elsewhere")
    onnx.external_data_helper.set_external_data(tensor, location)
    tensor.ClearField("raw_data")
    return tensor


def as_an_initializer(model: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    model.graph.initializer.append(tensor)


def as_a_constant(model: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["constant"], value=tensor))


def in_a_branch(model: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    branch = helper.make_graph([], "branch", [], [], [tensor])
    model.graph.node.append(helper.make_node("If", ["yes"], ["no"], then_branch=branch, else_branch=branch))


def in_a_function(model: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    node = helper.make_node("Constant", [], ["constant"], value=tensor)
    model.functions.append(helper.make_function("own", "Constant", [], ["constant"], [node], []))


@pytest.mark.parametrize("add", [as_an_initializer, as_a_constant, in_a_branch, in_a_function])
def test_every_file_that_a_graph_names_is_found(
    tmp_path: Path, add: Callable[[onnx.ModelProto, onnx.TensorProto], None]
) -> None:
    loaded = onnx.load(str(SMALL))
    add(loaded, elsewhere("folder/data"))
    onnx.save(loaded, str(tmp_path / "model.onnx"))
    assert weights(tmp_path / "model.onnx", tmp_path / FOLDER) == ["folder/data"]


@pytest.mark.parametrize("location", ["../data", "/etc/passwd", "folder/../../data", ""])
def test_weights_outside_of_the_folder_are_refused(copied_model: Path, location: str) -> None:
    loaded = onnx.load(str(copied_model / "model.onnx"))
    as_an_initializer(loaded, elsewhere(location))
    onnx.save(loaded, str(copied_model / "model.onnx"))
    with pytest.raises(ModelLoadFailed, match=r"model\.onnx could not be read: it names weights outside of its folder"):
        engine.load(lambda _: None)


def test_missing_weights_are_a_clear_reason(copied_model: Path) -> None:
    path = copied_model / "model.onnx"
    onnx.save_model(onnx.load(str(path)), str(path), save_as_external_data=True, location="data")
    (copied_model / "data").unlink()
    with pytest.raises(ModelLoadFailed, match=r"there is no file .*/data"):
        engine.load(lambda _: None)


def test_other_weights_are_another_model(model: Path) -> None:
    folder = model.parent / FOLDER
    data = model.with_name("model.onnx_data")
    first, old = digest(model, folder), data.read_bytes()
    kept = prepared(model, "fp32", model.parent / "cache", make=True).path
    data.write_bytes(old[:-4] + b"\0\0\x80?")
    assert digest(model, folder) != first
    assert prepared(model, "fp32", model.parent / "cache", make=True).path not in (kept, model)
    data.write_bytes(old)
    assert digest(model, folder) == first


def test_files_that_did_not_change_are_not_read_again(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = model.parent / FOLDER
    first = digest(model, folder)
    monkeypatch.setattr(identity, "_sha256", lambda _: pytest.fail("read again"))
    monkeypatch.setattr(onnx, "load", lambda *_, **__: pytest.fail("read again"))
    assert digest(model, folder) == first


@pytest.mark.parametrize("hard", [False, True], ids=["symbolic", "hard"])
def test_weights_behind_links_are_rebuilt_as_others_are(model: Path, tmp_path: Path, hard: bool) -> None:
    """As in the hub's cache."""
    linked = tmp_path / "snapshot"
    linked.mkdir()
    for path in (model, model.with_name("model.onnx_data")):
        if hard:
            (linked / path.name).hardlink_to(path)
        else:
            (linked / path.name).symlink_to(f"../{path.name}")
    found = prepared(linked / "model.onnx", "fp32", tmp_path / "cache", make=True)
    assert found.state == "rebuilt"
    assert [path.name for path in found.path.parent.iterdir() if path.is_dir()] == []


def test_weights_of_the_hub_are_in_the_folder_of_the_model(model: Path) -> None:
    wanted = resolve(ExtractSettings(model="hf://owner/name@v2")).model
    assert list(files_of_weights(wanted, model)) == [
        (HubFile("owner/name", "onnx/model.onnx_data", "v2"), model.with_name("model.onnx_data"))
    ]
