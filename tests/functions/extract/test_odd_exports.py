"""Exports that are broken in many ways: never an unexpected exception, served as they are, and asked only once."""

import contextlib
import logging
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.extract.graph import convert, prepare
from functions.extract.graph.convert import NotEqual
from functions.extract.graph.prepare import LEFT_ALONE, prepared
from functions.extract.graph.read import read
from functions.extract.graph.walk import NotRecognised
from tests.functions.extract.test_graph import SHAPES, SMALL

MODELS = [onnx.load(str(path)) for path in SHAPES]


def drop_node(graph: onnx.GraphProto, node: onnx.NodeProto, _: int) -> None:
    graph.node.remove(node)


def rename_operator(graph: onnx.GraphProto, node: onnx.NodeProto, number: int) -> None:
    others = sorted({other.op_type for other in graph.node} | {"Nonsense"})
    node.op_type = others[number % len(others)]


def remove_input(_: onnx.GraphProto, node: onnx.NodeProto, number: int) -> None:
    if node.input:
        del node.input[number % len(node.input)]


def omit_input(_: onnx.GraphProto, node: onnx.NodeProto, number: int) -> None:
    if node.input:
        node.input[number % len(node.input)] = ""


def rewire_input(graph: onnx.GraphProto, node: onnx.NodeProto, number: int) -> None:
    """To the output of any node, also of a later one: that makes a cycle."""
    if node.input:
        other = graph.node[number % len(graph.node)]
        node.input[number % len(node.input)] = other.output[0]


def remove_attributes(_: onnx.GraphProto, node: onnx.NodeProto, __: int) -> None:
    del node.attribute[:]


def change_rank(graph: onnx.GraphProto, _: onnx.NodeProto, number: int) -> None:
    tensors = constants(graph)
    dims = tensors[number % len(tensors)].dims
    dims[:] = [1, *dims] if number % 2 else [2, *dims[1:], 3]


def change_numbers(graph: onnx.GraphProto, _: onnx.NodeProto, number: int) -> None:
    tensors = constants(graph)
    tensor = tensors[number % len(tensors)]
    tensor.raw_data = bytes([number % 256]) * len(tensor.raw_data)


def remove_an_end(graph: onnx.GraphProto, _: onnx.NodeProto, number: int) -> None:
    del (graph.output if number % 2 else graph.input)[:]


def constants(graph: onnx.GraphProto) -> list[onnx.TensorProto]:
    inside = [node.attribute[0].t for node in graph.node if node.op_type == "Constant" and node.attribute]
    return [*graph.initializer, *inside]


CHANGES: list[Callable[[onnx.GraphProto, onnx.NodeProto, int], None]] = [
    drop_node, rename_operator, remove_input, omit_input, rewire_input, remove_attributes, change_rank,
    change_numbers, remove_an_end,
]  # fmt: skip


NUMBERS = st.integers(0, 10_000)
# Which change, at which node, with which number.
STEPS = st.lists(st.tuples(st.sampled_from(CHANGES), NUMBERS, NUMBERS), min_size=1, max_size=3)


def changed(model: onnx.ModelProto, steps: list[tuple[Any, int, int]]) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for change, node, number in steps:
        change(copy.graph, copy.graph.node[node % len(copy.graph.node)], number)
    return copy


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.sampled_from(MODELS), STEPS)
def test_reading_fails_in_one_way_only(model: onnx.ModelProto, steps: list[tuple[Any, int, int]]) -> None:
    with contextlib.suppress(NotRecognised):
        read(changed(model, steps).graph)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.sampled_from(MODELS), STEPS)
def test_so_do_rebuilding_and_comparing(model: onnx.ModelProto, steps: list[tuple[Any, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.onnx"), Path(folder, "out.onnx")
        onnx.save(changed(model, steps), str(source))
        try:
            convert.convert(source, target, "fp32")
        except (NotRecognised, NotEqual):
            assert list(Path(folder).iterdir()) == [source]


# Which node is changed how, and what the log says.
BROKEN: list[tuple[str, Any, str]] = [
    ("LSTM", drop_node, "span_head <- lstm: "),
    ("Softmax", rename_operator, "encoder <- layer <- attention: the operator Abs where Softmax belongs"),
    ("Einsum", remove_input, "span_head: the operator Einsum without 2 inputs"),
    ("LayerNormalization", omit_input, "encoder <- is_embedded: the operator LayerNormalization without 3 inputs"),
    ("Einsum", change_rank, "ValueError('cannot reshape array"),
    ("LSTM", remove_attributes, "it, or what was built of it, does not run: "),
    ("Einsum", remove_an_end, "encoder <- is_embedded <- looks_tokens_up: IndexError"),
]


@pytest.mark.parametrize(("operator", "change", "says"), BROKEN)
def test_a_broken_export_is_served_as_it_is_and_asked_once(
    operator: str,
    change: Any,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    operators = [node.op_type for node in MODELS[0].graph.node]
    source = tmp_path / "model.onnx"
    onnx.save(changed(MODELS[0], [(change, operators.index(operator), 0)]), str(source))
    caplog.set_level(logging.INFO)
    assert prepared(source, "fp32", tmp_path / "cache", make=True) == source
    assert [path.name for path in (tmp_path / "prepared").glob("*/*")] == [LEFT_ALONE]
    (line,) = caplog.messages
    assert line.startswith(f"{source} is used as it is: not recognised: ")
    assert says in line
    assert "\n" not in line
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("asked again"))
    assert prepared(source, "fp32", tmp_path / "cache", make=True) == source


@pytest.mark.parametrize("code", [1, -9, 134])
def test_a_process_that_gives_no_answer_is_started_again(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "model.onnx"
    source.write_bytes(SMALL.read_bytes())
    ended = subprocess.CompletedProcess[str]([], code, "", "a traceback\nMemoryError")
    with monkeypatch.context() as patch:
        patch.setattr(prepare, "_run", lambda *_: ended)
        assert prepared(source, "fp32", tmp_path / "cache", make=True) == source
    assert caplog.messages == [f"{source} could not be prepared and is used as it is: MemoryError"]
    assert prepared(source, "fp32", tmp_path / "cache", make=True) != source


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(28, "No space left on device"),
        RuntimeError(
            "[ONNXRuntimeError] : 1 : FAIL : Failed to allocate memory for requested buffer of size 17179869184"
        ),
        RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Exception during initialization: std::bad_alloc"),
    ],
)
@pytest.mark.parametrize("step", ["write", "_save", "_compare"])
def test_a_lack_of_memory_or_disk_is_no_answer(
    error: Exception, step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(convert, step, fail)
    with pytest.raises(type(error)) as raised:
        convert.convert(SMALL, tmp_path / "out.onnx", "fp32")
    assert raised.value is error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [MemoryError(), OSError(28, "No space left on device")])
def test_reading_passes_it_on(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("functions.extract.graph.walk.numpy_helper.to_array", fail)
    with pytest.raises(type(error)) as raised:
        read(MODELS[0].graph)
    assert raised.value is error
