"""Spells fused and quantised operators as the plain ones of ONNX, in 32 bits.

A quantised tensor of activations is written as the numbers that it stands for. Its scale is then 1 and its zero point
0, and whatever a graph does with the three comes to the same. Weights are what their numbers, scale and zero point
say; `fold.py` works that out.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper

from functions.extract.graph.normal.flat import CONTRIB, Flat, attribute


class Spelling:
    """Nodes instead of one node, whose outputs keep their names."""

    def __init__(self, graph: Flat) -> None:
        self.graph = graph
        self.nodes: list[NodeProto] = []
        self.producers = {name: node for node in graph.nodes for name in node.output if name}

    def add(self, operator: str, *inputs: str, name: str = "", domain: str = "", **attributes: Any) -> str:
        """A node with one output; `name` is the one that the spelled node's output had."""
        name = name or self.graph.new(operator)
        self.nodes.append(helper.make_node(operator, inputs, [name], domain=domain, **attributes))
        return name

    def number(self, value: float) -> str:
        return self.graph.constant(np.array(value, np.float32))

    def shape_of(self, name: str) -> tuple[int, ...]:
        """The shape of a constant."""
        value = self.graph.constants[name]
        return value.shape if isinstance(value, np.ndarray) else tuple(value.dims)


Rule = Callable[[Spelling, NodeProto, list[str]], bool | None]


def spell(graph: Flat) -> bool:
    """Whether the graph quantised activations: then it computes with fewer bits than this one."""
    spelling = Spelling(graph)
    rounds = False
    for node in graph.nodes:
        rule = RULES.get(node.op_type)
        # Every input that may be given is there, "" where it is not.
        if rule is None or rule(spelling, node, [*node.input, *[""] * 12]) is False:
            spelling.nodes.append(node)
        else:
            rounds = rounds or node.op_type in ROUNDS
    graph.nodes = spelling.nodes
    return rounds


def _skip_layer_normalization(to: Spelling, node: NodeProto, inputs: list[str]) -> None:
    x, skip, weight, shift, bias = inputs[:5]
    if bias:
        # It belongs to the linear layer of the two.
        producer = to.producers.get(skip)
        if producer is not None and "MatMul" in producer.op_type:
            x, skip = skip, x
        x = to.add("Add", x, bias)
    total = to.add("Add", x, skip, name=node.output[3] if len(node.output) > 3 else "")
    shift = shift or to.graph.constant(np.zeros(to.shape_of(weight), np.float32))
    epsilon = attribute(node, "epsilon", 1e-12)
    to.add("LayerNormalization", total, weight, shift, name=node.output[0], axis=-1, epsilon=epsilon)


def _embed_layer_normalization(to: Spelling, node: NodeProto, inputs: list[str]) -> None:
    tokens, segments, words, positions, kinds, weight, shift, _, places = inputs[:9]
    zero, one = (to.graph.constant(np.array(number)) for number in (0, 1))
    if not places:
        places = to.add("Range", zero, to.add("Gather", to.add("Shape", tokens), one), one)
    total = to.add("Gather", words, tokens)
    if segments:
        total = to.add("Add", total, to.add("Gather", kinds, segments))
    total = to.add("Add", total, to.add("Gather", positions, places))
    epsilon = attribute(node, "epsilon", 1e-12)
    to.add("LayerNormalization", total, weight, shift, name=node.output[0], axis=-1, epsilon=epsilon)


def _bias_gelu(to: Spelling, node: NodeProto, inputs: list[str]) -> None:
    to.add("Gelu", to.add("Add", *inputs[:2]), name=node.output[0], domain=CONTRIB)


def _bias_softmax(to: Spelling, node: NodeProto, inputs: list[str]) -> None:
    to.add("Softmax", to.add("Add", *inputs[:2]), name=node.output[0], axis=-1)


def _fused_matmul(to: Spelling, node: NodeProto, inputs: list[str]) -> bool:
    """Of two tensors that are no constants it stays, since a transposition has to know how many axes there are."""
    left, right = inputs[:2]
    alpha, name = attribute(node, "alpha", 1.0), node.output[0]
    flags = {flag: attribute(node, flag, 0) for flag in ("transA", "transB", "transBatchA", "transBatchB")}
    if right in to.graph.constants and flags["transB"] and not flags["transBatchB"]:
        axes = [*range(len(to.shape_of(right)))]
        right = to.add("Transpose", right, perm=[*axes[:-2], axes[-1], axes[-2]])
        flags["transB"] = 0
    if alpha == 1 and any(flags.values()) and right == inputs[1]:
        return False
    product = name if alpha == 1 else ""
    if any(flags.values()):
        product = to.add("FusedMatMul", left, right, name=product, domain=CONTRIB, **flags)
    else:
        product = to.add("MatMul", left, right, name=product)
    if alpha != 1:
        to.add("Mul", product, to.number(alpha), name=name)
    return True


def _gemm(to: Spelling, node: NodeProto, inputs: list[str]) -> bool:
    left, right, added = inputs[:3]
    activation = attribute(node, "activation", b"").decode()
    if activation not in ("", "Relu", "Tanh", "Sigmoid"):
        return False
    if attribute(node, "transA", 0):
        left = to.add("Transpose", left, perm=[1, 0])
    if attribute(node, "transB", 0):
        right = to.add("Transpose", right, perm=[1, 0])
    if (alpha := attribute(node, "alpha", 1.0)) != 1:
        right = to.add("Mul", right, to.number(alpha))
    if added and (beta := attribute(node, "beta", 1.0)) != 1:
        added = to.add("Mul", added, to.number(beta))
    steps = [name for name in (added, activation) if name]
    last = to.add("MatMul", left, right, name="" if steps else node.output[0])
    if added:
        last = to.add("Add", last, added, name="" if activation else node.output[0])
    if activation:
        to.add(activation, last, name=node.output[0])
    return True


def _constant_last(to: Spelling, node: NodeProto, inputs: list[str]) -> bool:
    """What is multiplied comes first, and the constant second."""
    if inputs[0] not in to.graph.constants:
        return False
    to.add(node.op_type, inputs[1], inputs[0], name=node.output[0])
    return True


def _dynamic_quantize_linear(to: Spelling, node: NodeProto, inputs: list[str]) -> None:
    to.add("Identity", inputs[0], name=node.output[0])
    for name, value in zip(node.output[1:], (1, 0), strict=False):
        to.graph.constants[name] = np.array(value, np.float32)


def _real(to: Spelling, quantised: str, scale: str = "", zero: str = "", name: str = "") -> str:
    """The numbers that a constant stands for, whose scales belong to its last axis."""
    value = to.add("Cast", quantised, to=TensorProto.FLOAT)
    if zero:
        value = to.add("Sub", value, to.add("Cast", zero, to=TensorProto.FLOAT))
    return to.add("Mul", value, scale, name=name) if scale else value


def _matmul_integer(to: Spelling, node: NodeProto, inputs: list[str]) -> bool:
    x, weight, _, zero = inputs[:4]
    if weight not in to.graph.constants:
        return False
    to.add("MatMul", x, _real(to, weight, zero=zero), name=node.output[0])
    return True


def _matmul_integer_to_float(to: Spelling, node: NodeProto, inputs: list[str]) -> bool:
    x, weight, _, scale, _, zero, bias = inputs[:7]
    return _linear(to, node, x, (weight, scale, zero), bias)


def _dynamic_quantize_matmul(to: Spelling, node: NodeProto, inputs: list[str]) -> bool:
    x, weight, scale, zero, bias = inputs[:5]
    return _linear(to, node, x, (weight, scale, zero), bias)


def _qlinear_matmul(to: Spelling, node: NodeProto, inputs: list[str]) -> bool:
    x, _, _, weight, scale, zero = inputs[:6]
    return _linear(to, node, x, (weight, scale, zero), "")


def _linear(to: Spelling, node: NodeProto, x: str, weight: tuple[str, str, str], bias: str) -> bool:
    if weight[0] not in to.graph.constants:
        return False
    product = to.add("MatMul", x, _real(to, *weight), name="" if bias else node.output[0])
    if bias:
        to.add("Add", product, bias, name=node.output[0])
    return True


def _dynamic_quantize_lstm(to: Spelling, node: NodeProto, inputs: list[str]) -> None:
    """Its weights are [directions, in, 4 x hidden], those of LSTM [directions, 4 x hidden, in]."""
    weights = []
    for tensor, scale, zero in ((inputs[1], *inputs[8:10]), (inputs[2], *inputs[10:12])):
        # One number for each direction, or for each of its columns.
        per_row = to.graph.constant(np.array([to.shape_of(tensor)[0], 1, -1]))
        scale, zero = (to.add("Reshape", name, per_row) for name in (scale, zero))
        weights.append(to.add("Transpose", _real(to, tensor, scale, zero), perm=[0, 2, 1]))
    lstm = helper.make_node("LSTM", [inputs[0], *weights, *inputs[3:8]], node.output)
    lstm.attribute.extend(node.attribute)
    to.nodes.append(lstm)


def _quantize_linear(to: Spelling, node: NodeProto, inputs: list[str]) -> None:
    to.add("Identity", inputs[0], name=node.output[0])


def _dequantize_linear(to: Spelling, node: NodeProto, inputs: list[str]) -> bool:
    """Of activations it does nothing. Rows that are looked up in a table are those of a table that is dequantised."""
    x, rest = inputs[0], list(node.input)[1:]
    producer = to.producers.get(x)
    if producer is None or producer.op_type != "Gather" or producer.input[0] not in to.graph.constants:
        to.add("Identity", x, name=node.output[0])
        return True
    if any(to.shape_of(name) not in ((), (1,)) for name in rest if name):
        return False
    table = to.add("DequantizeLinear", producer.input[0], *rest, domain=node.domain)
    axis = attribute(producer, "axis", 0)
    to.add("Gather", table, producer.input[1], name=node.output[0], axis=axis)
    return True


def _blocks_matmul(to: Spelling, node: NodeProto, inputs: list[str]) -> bool:
    """The weights are what the operator makes of the unit matrix."""
    bias = inputs[5] if node.op_type == "MatMulNBits" else ""
    size = attribute(node, "K", 0)
    own = NodeProto()
    own.CopyFrom(node)
    own.input[0] = to.graph.constant(np.eye(size, dtype=np.float32))
    own.output[0] = to.graph.new("weight")
    if bias:
        own.input[5] = ""
    # The level of accuracy says with how many bits it may compute.
    kept = [given for given in own.attribute if given.name != "accuracy_level"]
    del own.attribute[:]
    own.attribute.extend(kept)
    to.nodes.append(own)
    product = to.add("MatMul", inputs[0], own.output[0], name="" if bias else node.output[0])
    if bias:
        to.add("Add", product, bias, name=node.output[0])
    return True


def _blocks_gather(to: Spelling, node: NodeProto, inputs: list[str]) -> bool:
    """The table is what the operator finds for all of its rows."""
    if attribute(node, "gather_axis", 0) != 0:
        return False
    own = NodeProto()
    own.CopyFrom(node)
    own.input[1] = to.graph.constant(np.arange(to.shape_of(inputs[0])[0]))
    own.output[0] = to.graph.new("table")
    to.nodes.append(own)
    to.add("Gather", own.output[0], inputs[1], name=node.output[0])
    return True


# What quantises activations or takes them quantised.
ROUNDS = {
    "DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "QuantizeLinear", "MatMulNBits",
}  # fmt: skip
RULES: dict[str, Rule] = {
    "Add": _constant_last,
    "Mul": _constant_last,
    "Gemm": _gemm,
    "FusedGemm": _gemm,
    "FusedMatMul": _fused_matmul,
    "TransposeMatMul": _fused_matmul,
    "BiasGelu": _bias_gelu,
    "BiasSoftmax": _bias_softmax,
    "SkipLayerNormalization": _skip_layer_normalization,
    "EmbedLayerNormalization": _embed_layer_normalization,
    "DynamicQuantizeLinear": _dynamic_quantize_linear,
    "QuantizeLinear": _quantize_linear,
    "DequantizeLinear": _dequantize_linear,
    "MatMulInteger": _matmul_integer,
    "MatMulIntegerToFloat": _matmul_integer_to_float,
    "DynamicQuantizeMatMul": _dynamic_quantize_matmul,
    "DynamicQuantizeLSTM": _dynamic_quantize_lstm,
    "QLinearMatMul": _qlinear_matmul,
    "MatMulNBits": _blocks_matmul,
    "MatMulBnb4": _blocks_matmul,
    "GatherBlockQuantized": _blocks_gather,
}
