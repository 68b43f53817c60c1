"""One model, spelled in the ways of other exporters and optimisers: each is rebuilt, and gives the same logits."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.capi import _pybind_state
from onnxruntime.quantization import QuantType, quantize_dynamic

from functions.extract.graph.convert import convert
from functions.extract.graph.normal.form import normal
from functions.extract.graph.operators import all_nodes, scales_by_batch
from functions.extract.graph.parts import Array
from functions.extract.graph.read import read
from tests.functions.extract.test_graph import MAX_WIDTH, MODEL, SMALL, assert_equal, logits, texts

CONTRIB = "com.microsoft"


class Rewrite:
    """Takes nodes out of a model and puts others in their place."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model, self.graph = model, model.graph
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "Constant":
                self.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        self.producers = {name: node for node in model.graph.node for name in node.output}
        self._nodes: list[onnx.NodeProto] = []

    def each(self, operator: str, rule: Callable[["Rewrite", onnx.NodeProto], bool | None]) -> onnx.ModelProto:
        """`rule` adds what computes the node's outputs; where it returns False the node stays."""
        for node in self.graph.node:
            if node.op_type != operator or rule(self, node) is False:
                self._nodes.append(node)
        del self.graph.node[:]
        self.graph.node.extend(self._nodes)
        return self.model

    def add(self, operator: str, *inputs: str, name: str = "", domain: str = "", **attributes: Any) -> str:
        name = name or f"new_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], domain=domain, **attributes))
        return name

    def constant(self, value: Any) -> str:
        name = f"constant_{len(self.graph.initializer)}"
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def number(self, value: float) -> str:
        return self.constant(np.float32(value))


def seven_operators(to: Rewrite, node: onnx.NodeProto) -> None:
    """A layer normalisation before opset 17."""
    x, weight, shift = node.input
    last = to.constant([-1])
    centred = to.add("Sub", x, to.add("ReduceMean", x, last))
    variance = to.add("ReduceMean", to.add("Pow", centred, to.number(2)), last)
    deviation = to.add("Sqrt", to.add("Add", variance, to.number(1e-7)))
    to.add("Add", to.add("Mul", to.add("Div", centred, deviation), weight), shift, name=node.output[0])


def with_its_sum(to: Rewrite, node: onnx.NodeProto) -> bool:
    """A layer normalisation fused with the residual sum and the bias before it."""
    x, weight, shift = node.input
    total = to.producers.get(x)
    if total is None or total.op_type != "Add":
        return False
    left, right = total.input
    if (inner := to.producers.get(left)) is not None and inner.op_type == "Add" and inner.input[0] in to.constants:
        bias, left = inner.input
    elif inner is not None and inner.op_type == "Add" and inner.input[1] in to.constants:
        left, bias = inner.input
    else:
        bias = ""
    inputs = [right, left, weight, shift, bias]
    to.add("SkipLayerNormalization", *inputs, name=node.output[0], domain=CONTRIB, epsilon=1e-7)
    return True


def transposed_gemm(to: Rewrite, node: onnx.NodeProto) -> bool:
    """A linear layer as Gemm with its weights transposed, halved by alpha, and its bias by beta."""
    x, weight = node.input
    if weight not in to.constants:
        return False
    rows, columns = to.constants[weight].shape
    flat = to.add("Reshape", x, to.constant([-1, rows]))
    doubled = to.constant(np.ascontiguousarray(2 * to.constants[weight].T))
    made = to.add("Gemm", flat, doubled, to.constant(np.zeros((1, columns), np.float32)), transB=1, alpha=0.5, beta=0.5)
    sizes = to.add("Slice", to.add("Shape", x), to.constant([0]), to.constant([-1]))
    to.add("Reshape", made, to.add("Concat", sizes, to.constant([columns]), axis=0), name=node.output[0])
    return True


def bias_on_the_other_side(to: Rewrite, node: onnx.NodeProto) -> None:
    to.add("Add", *reversed(node.input), name=node.output[0])


def multiplied_by_the_inverse(to: Rewrite, node: onnx.NodeProto) -> bool:
    """Attention's scale, which is the root of a size."""
    if node.input[1] in to.constants:
        return False
    to.add("Mul", to.add("Reciprocal", node.input[1]), node.input[0], name=node.output[0])
    return True


def other_gelu(to: Rewrite, node: onnx.NodeProto) -> None:
    """The error function of a product instead of a quotient."""
    x = to.producers[node.input[0]].input[0]
    to.add("Erf", to.add("Mul", to.number(0.5**0.5), x), name=node.output[0])


def unfolded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Constants that are made of others: transposed, joined, cast, and stored in other attributes."""
    made: list[onnx.NodeProto] = []

    def add(operator: str, inputs: list[str], name: str, **attributes: Any) -> str:
        made.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    for tensor in list(model.graph.initializer):
        value, name = numpy_helper.to_array(tensor), tensor.name
        if value.dtype == np.float32 and value.ndim == 2:
            halves = np.array_split(value.T.astype(np.float64), 2)
            parts = [
                add("Constant", [], f"{name}_{part}", value=numpy_helper.from_array(np.ascontiguousarray(half)))
                for part, half in enumerate(halves)
            ]
            joined = add("Concat", parts, f"{name}_joined", axis=0)
            cast = add("Cast", [joined], f"{name}_cast", to=TensorProto.FLOAT)
            add("Identity", [add("Transpose", [cast], f"{name}_turned", perm=[1, 0])], name)
        elif value.dtype == np.int64 and value.ndim == 1:
            add("Constant", [], name, value_ints=value.tolist())
        elif value.dtype == np.float32 and value.ndim == 0:
            add("Constant", [], name, value_float=float(value))
        else:
            continue
        model.graph.initializer.remove(tensor)
    made += model.graph.node
    del model.graph.node[:]
    model.graph.node.extend(made)
    return model


def local_function(model: onnx.ModelProto) -> onnx.ModelProto:
    body = helper.make_node("LayerNormalization", ["x", "weight", "bias"], ["y"], epsilon=1e-7)
    opsets = [opset for opset in model.opset_import if not opset.domain]
    function = helper.make_function("local", "Norm", ["x", "weight", "bias"], ["y"], [body], opsets)
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("local", 1))
    for node in model.graph.node:
        if node.op_type == "LayerNormalization":
            node.CopyFrom(helper.make_node("Norm", node.input, node.output, domain="local"))
    return model


def half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights, arithmetic and logits in 16 bits."""
    tensors = list(model.graph.initializer)
    for node in [*all_nodes(model)]:
        tensors += [attribute.t for attribute in node.attribute if attribute.type == onnx.AttributeProto.TENSOR]
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
    for tensor in tensors:
        if tensor.data_type == TensorProto.FLOAT:
            value = np.clip(numpy_helper.to_array(tensor), -65504, 65504).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    for value_info in model.graph.output:
        value_info.type.tensor_type.elem_type = TensorProto.FLOAT16
    del model.graph.value_info[:]
    return model


def optimised(level: str) -> Callable[[onnx.ModelProto], onnx.ModelProto]:
    def optimise(model: onnx.ModelProto) -> onnx.ModelProto:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
        options.log_severity_level = 4
        with tempfile.TemporaryDirectory() as folder:
            options.optimized_model_filepath = str(Path(folder, "model.onnx"))
            onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
            return onnx.load(options.optimized_model_filepath)

    return optimise


EXACT: dict[str, Callable[[onnx.ModelProto], onnx.ModelProto]] = {
    "layer normalisation of seven operators": lambda model: Rewrite(model).each("LayerNormalization", seven_operators),
    "skip layer normalisation": lambda model: Rewrite(model).each("LayerNormalization", with_its_sum),
    "transposed Gemm": lambda model: Rewrite(model).each("MatMul", transposed_gemm),
    "bias on the other side": lambda model: Rewrite(model).each("Add", bias_on_the_other_side),
    "scaled by a product": lambda model: Rewrite(model).each("Div", multiplied_by_the_inverse),
    "another GELU": lambda model: Rewrite(model).each("Erf", other_gelu),
    "unfolded constants": unfolded,
    "a local function": local_function,
    "optimised a little": optimised("BASIC"),
    "optimised much": optimised("EXTENDED"),
}


def save(model: onnx.ModelProto, path: Path) -> Path:
    if not any(opset.domain == CONTRIB for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid(CONTRIB, 1))
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize("form", EXACT.values(), ids=EXACT.keys())
def test_other_spellings_are_rebuilt(form: Callable[[onnx.ModelProto], onnx.ModelProto], tmp_path: Path) -> None:
    source = save(form(onnx.load(str(SMALL))), tmp_path / "model.onnx")
    assert_equal(source, SMALL, texts(30, 4))
    assert convert(source, tmp_path / "out.onnx", "fp32") == "fp32"
    assert_equal(tmp_path / "out.onnx", SMALL, texts(30, 4))


def deviation(left: Path, right: Path) -> float:
    """Of logits, as a share of their own."""
    inputs = texts(60)
    within = inputs["span_mask"].reshape(1, 60, MAX_WIDTH)
    ours, theirs = logits(left, inputs)[within], logits(right, inputs)[within]
    return float((ours - theirs).std() / theirs.std())


def test_half_weights_are_widened_and_the_table_stays_in_16_bits(tmp_path: Path) -> None:
    source = save(half(onnx.load(str(SMALL))), tmp_path / "model.onnx")
    assert convert(source, tmp_path / "out.onnx", "fp32") == "fp32-half-embeddings"
    # Nearer to the weights in 32 bits than a computation in 16 bits is.
    assert deviation(tmp_path / "out.onnx", SMALL) < deviation(source, SMALL) < 0.02


@pytest.mark.parametrize(("kind", "per_channel"), [(QuantType.QInt8, False), (QuantType.QUInt8, True)])
@pytest.mark.filterwarnings("ignore")
def test_dynamic_8_bits_stay_8_bits(kind: QuantType, per_channel: bool, tmp_path: Path) -> None:
    source = tmp_path / "model.onnx"
    quantize_dynamic(str(MODEL), str(source), weight_type=kind, per_channel=per_channel, reduce_range=per_channel)
    assert convert(source, tmp_path / "out.onnx", "fp32") == "int8"
    assert scales_by_batch(onnx.load(str(tmp_path / "out.onnx")))
    assert not scales_by_batch(onnx.load(str(MODEL)))
    exact, found = (read(normal(onnx.load(str(path))).graph) for path in (MODEL, source))
    for left, right in [
        (exact.embeddings.table, found.embeddings.table),
        (exact.head.lstm.weight, found.head.lstm.weight),
        (exact.head.lstm.recurrence, found.head.lstm.recurrence),
        (exact.encoder.layers[0].query.weight, found.encoder.layers[0].query.weight),
        (exact.head.span.first.weight, found.head.span.first.weight),
    ]:
        assert_rounded(left, right, bits=7)


@pytest.mark.parametrize("symmetric", [False, True])
def test_weights_of_4_bits_are_read_as_what_they_are(symmetric: bool, tmp_path: Path) -> None:
    def four_bits(to: Rewrite, node: onnx.NodeProto) -> bool:
        x, weight = node.input
        if weight not in to.constants:
            return False
        rows, columns = to.constants[weight].shape
        blocks = -(-rows // 32)
        packed = np.zeros((columns, blocks, 16), np.uint8)
        scales = np.zeros(columns * blocks, np.float32)
        zeros = np.zeros(columns * -(-blocks // 2), np.uint8)
        _pybind_state.quantize_matmul_4bits(packed, to.constants[weight], scales, zeros, 32, columns, rows, symmetric)
        inputs = [x, *map(to.constant, (packed, scales, *([] if symmetric else [zeros])))]
        sizes = {"K": rows, "N": columns, "bits": 4, "block_size": 32}
        to.add("MatMulNBits", *inputs, name=node.output[0], domain=CONTRIB, **sizes)
        return True

    source = save(Rewrite(onnx.load(str(SMALL))).each("MatMul", four_bits), tmp_path / "model.onnx")
    convert(source, tmp_path / "out.onnx", "fp32")
    assert_equal(tmp_path / "out.onnx", source, texts(30, 4))


def assert_rounded(exact: Array, found: Array, bits: int) -> None:
    assert exact.shape == found.shape
    assert 0 < np.abs(exact - found).max() < np.abs(exact).max() / 2 ** (bits - 1)
