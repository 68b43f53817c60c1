"""Models for which texts must not run together: found when they are loaded, and answered for one by one."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from common.errors import ModelLoadFailed
from functions.extract import engine
from functions.extract.gliner import GlinerEngine
from tests.conftest import SettingsEnv
from tests.functions.extract.conftest import spans_of

TEXTS = ["Tim Cook in Rome", "Angela Merkel in Berlin", "Nokia in Helsinki"]


def fix_the_declared_batch(model: onnx.ModelProto, size: int = 1) -> None:
    for value in model.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = size


def reshape_into(model: onnx.ModelProto, shape: list[int]) -> None:
    """As an exporter does that takes sizes of its example for constants."""
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name == "input_ids":
                node.input[place] = "reshaped_ids"
    model.graph.initializer.append(numpy_helper.from_array(np.array(shape), "fixed_shape"))
    node = helper.make_node("Reshape", ["input_ids", "fixed_shape"], ["reshaped_ids"])
    model.graph.node.insert(0, node)


def fix_the_batch_inside(model: onnx.ModelProto) -> None:
    reshape_into(model, [1, -1])


def scale_by_the_batch(model: onnx.ModelProto) -> None:
    """Without an operator that is known for it."""
    for node in model.graph.node:
        node.output[:] = ["raw_logits" if name == "logits" else name for name in node.output]
    model.graph.node.append(helper.make_node("ReduceMin", ["raw_logits"], ["least"], keepdims=0))
    model.graph.node.append(helper.make_node("Div", ["raw_logits", "least"], ["logits"]))


def load(folder: Path, settings_env: SettingsEnv, change: Callable[[onnx.ModelProto], None]) -> GlinerEngine:
    model = onnx.load(str(folder / "model.onnx"))
    change(model)
    onnx.save(model, str(folder / "model.onnx"))
    settings_env(EXTRACT__MODEL=folder, EXTRACT__REBUILD=False)
    return engine.load(lambda _: None)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (fix_the_declared_batch, "its graph is made for batches of 1"),
        (fix_the_batch_inside, "it fails for two: "),
        (scale_by_the_batch, "beside another its logits differ by "),
    ],
)
def test_a_model_that_cannot_take_two_texts_at_once_takes_them_one_by_one(
    copied_model: Path,
    settings_env: SettingsEnv,
    caplog: pytest.LogCaptureFixture,
    change: Callable[[onnx.ModelProto], None],
    says: str,
) -> None:
    caplog.set_level(logging.INFO)
    loaded = load(copied_model, settings_env, change)
    assert loaded.batch_tokens == 0
    assert loaded.facts["graph"].startswith("as exported: ")
    (line,) = [message for message in caplog.messages if "one text at a time" in message]
    assert line.startswith(f"model model: one text at a time: {says}")
    for text in TEXTS:
        loaded.spans([loaded.window(text, ["Person", "Location"])])


@pytest.mark.parametrize(
    "change",
    [
        lambda model: fix_the_declared_batch(model, 2),
        lambda model: reshape_into(model, [1, 5]),
    ],
    ids=["of two texts", "of five tokens"],
)
def test_a_model_of_a_fixed_size_that_a_text_does_not_have_is_refused(
    copied_model: Path, settings_env: SettingsEnv, change: Callable[[onnx.ModelProto], None]
) -> None:
    with pytest.raises(ModelLoadFailed, match="does not answer: "):
        load(copied_model, settings_env, change)


def test_the_small_model_is_rebuilt_and_takes_batches(gliner: GlinerEngine) -> None:
    assert gliner.facts == {"graph": "rebuilt"}
    assert gliner.batch_tokens > 0


@pytest.mark.parametrize("place", ["graph", "branch", "function"])
def test_a_graph_with_dynamic_quantisation_is_run_text_by_text(
    copied_model: Path, settings_env: SettingsEnv, place: str
) -> None:
    """8-bit activations are scaled by all texts of a batch: what runs beside a text would change its scores."""
    loaded = load(copied_model, settings_env, lambda model: quantise_a_number(model, place))
    assert loaded.batch_tokens == 0
    (found,) = loaded.spans([loaded.window("Tim Cook in Rome", ["Person"])])
    assert [(span.first, span.last) for span in spans_of(found)] == [(0, 1)]


def quantise_a_number(model: onnx.ModelProto, place: str) -> None:
    """Somewhere; no test of this kind depends on what becomes of it."""
    model.graph.initializer.append(numpy_helper.from_array(np.ones(2, np.float32), "some_numbers"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    node = helper.make_node("DynamicQuantizeLinear", ["some_numbers"], ["bits", "scale", "zero"])
    if place == "graph":
        model.graph.node.append(node)
    elif place == "branch":
        output = helper.make_tensor_value_info("bits", onnx.TensorProto.UINT8, [2])
        branch = helper.make_graph([node], "branch", [], [output])
        model.graph.node.append(helper.make_node("If", ["yes"], ["chosen"], then_branch=branch, else_branch=branch))
    else:
        opset = [helper.make_opsetid("", 17)]
        model.functions.append(helper.make_function("own", "Quantise", ["some_numbers"], ["bits"], [node], opset))
        model.opset_import.append(helper.make_opsetid("own", 1))
        model.graph.node.append(helper.make_node("Quantise", ["some_numbers"], ["bits"], domain="own"))
