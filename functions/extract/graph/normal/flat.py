"""A graph as a list of nodes and a table of constants: what the passes to the normal form work on."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from typing import Any

import numpy as np
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    OperatorSetIdProto,
    TensorProto,
    ValueInfoProto,
    helper,
    inliner,
    numpy_helper,
)

from functions.extract.graph.parts import Array

CONTRIB = "com.microsoft"
# Types that numpy has itself; others stay tensors of ONNX until an operator has made numbers of them.
NUMPY_TYPES = {
    TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BOOL,
    TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64,
    TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64,
}  # fmt: skip


@dataclass
class Flat:
    """`nodes` stand in the order in which they can be computed; none of them is a Constant."""

    nodes: list[NodeProto]
    constants: dict[str, Array | TensorProto]
    inputs: list[ValueInfoProto]
    outputs: list[ValueInfoProto]
    opsets: list[OperatorSetIdProto]
    ir_version: int
    _made: int = field(default=0)

    def new(self, operator: str) -> str:
        """A name that nothing has."""
        self._made += 1
        return f"normal:{operator}_{self._made}"

    def array(self, name: str) -> Array | None:
        value = self.constants.get(name)
        return value if isinstance(value, np.ndarray) else None

    def constant(self, value: Array) -> str:
        name = self.new("constant")
        self.constants[name] = value
        return name

    def users(self) -> dict[str, int]:
        """How often each tensor is read, in subgraphs as well; the graph's outputs count."""
        counts: dict[str, int] = {output.name: 1 for output in self.outputs}
        for node in self.nodes:
            for name in reads(node):
                counts[name] = counts.get(name, 0) + 1
        return counts


def flat(model: ModelProto) -> Flat:
    """Local functions are written out. Only the output `logits` is kept, and what it needs.

    Raises CycleError, which is a ValueError.
    """
    if model.functions:
        model = inliner.inline_local_functions(model)
    graph = model.graph
    constants: dict[str, Array | TensorProto] = {tensor.name: _value(tensor) for tensor in graph.initializer}
    nodes = []
    for node in _sorted(graph):
        if node.op_type == "Constant" and node.attribute:
            constants[node.output[0]] = _constant(node.attribute[0])
        else:
            nodes.append(node)
    outputs = [output for output in graph.output if output.name == "logits"] or list(graph.output)[:1]
    inputs = [value for value in graph.input if value.name not in constants]
    opsets = [opset for opset in model.opset_import if opset.domain != CONTRIB]
    opsets.append(helper.make_opsetid(CONTRIB, 1))
    found = Flat(nodes, constants, inputs, outputs, opsets, model.ir_version)
    prune(found)
    return found


def prune(graph: Flat) -> None:
    """Drop what no output needs."""
    needed = {output.name for output in graph.outputs}
    kept = []
    for node in reversed(graph.nodes):
        if needed.intersection(node.output):
            needed.update(reads(node))
            kept.append(node)
    graph.nodes = kept[::-1]
    graph.constants = {name: value for name, value in graph.constants.items() if name in needed}


def reads(node: NodeProto) -> Iterator[str]:
    """The tensors that a node reads, and that its subgraphs do without making them."""
    yield from (name for name in node.input if name)
    for graph in subgraphs(node):
        own = {name for inner in graph.node for name in inner.output}
        own.update(value.name for value in graph.input)
        own.update(tensor.name for tensor in graph.initializer)
        inside = [name for inner in graph.node for name in reads(inner)]
        yield from (name for name in [*inside, *(output.name for output in graph.output)] if name not in own)


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def attribute(node: NodeProto, name: str, default: Any) -> Any:
    found = (helper.get_attribute_value(attribute) for attribute in node.attribute if attribute.name == name)
    return next(found, default)


def as_model(
    graph: Flat, nodes: Iterable[NodeProto], given: Iterable[ValueInfoProto], outputs: Iterable[ValueInfoProto]
) -> tuple[ModelProto, dict[str, Array]]:
    """A model of these nodes, and the large constants, which are inputs of it: none of them is copied.

    It needs no constant but those that its nodes read.
    """
    nodes = list(nodes)
    large: dict[str, Array] = {}
    inputs, initializers = list(given), []
    for name in dict.fromkeys(name for node in nodes for name in reads(node)):
        value = graph.constants.get(name)
        if isinstance(value, np.ndarray) and value.size > 1024 and value.ndim > 1:
            large[name] = value
            kind = helper.np_dtype_to_tensor_dtype(value.dtype)
            inputs.append(helper.make_tensor_value_info(name, kind, value.shape))
        elif value is not None:
            initializers.append(_tensor(value, name))
    made = helper.make_graph(nodes, "normal", inputs, list(outputs), initializers)
    return helper.make_model(made, opset_imports=graph.opsets, ir_version=max(graph.ir_version, 7)), large


def _sorted(graph: GraphProto) -> list[NodeProto]:
    producers = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    before = {
        index: {producers[name] for name in reads(node) if name in producers} for index, node in enumerate(graph.node)
    }
    return [graph.node[index] for index in TopologicalSorter(before).static_order()]


def _value(tensor: TensorProto) -> Array | TensorProto:
    return numpy_helper.to_array(tensor) if tensor.data_type in NUMPY_TYPES else tensor


def _tensor(value: Array | TensorProto, name: str) -> TensorProto:
    if isinstance(value, np.ndarray):
        return numpy_helper.from_array(np.array(value, order="C"), name)
    copy = TensorProto()
    copy.CopyFrom(value)
    copy.name = name
    return copy


def _constant(value: AttributeProto) -> Array | TensorProto:
    found = helper.get_attribute_value(value)
    if isinstance(found, TensorProto):
        return _value(found)
    kinds = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    return np.array(found, kinds[value.name])
