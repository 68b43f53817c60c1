"""A walk over an ONNX graph, from its outputs back to its inputs. It knows operators, and no model.

Exporters name nodes as they like, and each version of torch writes other operators between the ones that matter. So
nothing is found by its name, and whatever only moves, scales or masks numbers can be passed over.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
from onnx import NodeProto

from functions.extract.graph.normal.flat import Flat, attribute, reads
from functions.extract.graph.parts import Array, Linear, Mlp, Norm

# Where the data comes in, of operators that leave the numbers as they are (or scale or mask them).
DATA_INPUT = {
    **dict.fromkeys(["Identity", "Cast", "Dropout", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"], 0),
    **dict.fromkeys(["Expand", "Tile", "Slice", "Gather", "GatherElements", "GatherND", "Relu", "Div", "Mul"], 0),
    "ScatterND": 2,
}


class NotRecognised(Exception):
    """The graph does not have the form that was looked for. The message says which."""


class Walk:
    """A tensor's name stands for the node that makes it.

    Raises NotRecognised where something else was looked for, ValueError and IndexError where an operator is malformed.
    """

    def __init__(self, graph: Flat) -> None:
        self.inputs = [value.name for value in graph.inputs]
        self.outputs = [value.name for value in graph.outputs]
        self._nodes = graph.nodes
        self._producers: dict[str, NodeProto] = {name: node for node in graph.nodes for name in node.output if name}
        self._graph = graph
        self._sizes = self._of_sizes()

    def _of_sizes(self) -> set[str]:
        """What depends on nothing but sizes and constants, as the root of a vector's length does."""
        found: set[str] = set()
        for node in self._nodes:
            known = all(name in found or name in self._graph.constants for name in reads(node))
            if node.op_type in ("Shape", "Size") or known:
                found.update(node.output)
        return found

    def nodes(self, operator: str) -> Iterator[NodeProto]:
        return (node for node in self._nodes if node.op_type == operator)

    def producer(self, name: str) -> NodeProto | None:
        return self._producers.get(name)

    def node(self, name: str) -> NodeProto:
        if (node := self._producers.get(name)) is None:
            raise NotRecognised(f"{name!r} is no operator's output")
        return node

    def find(self, name: str, operator: str) -> NodeProto:
        """The first such operator behind `name`, past everything that only moves, scales or masks numbers."""
        while (node := self.node(name)).op_type != operator:
            if node.op_type == f"Fused{operator}":
                break
            if (origin := self.step(name)) is None:
                raise NotRecognised(f"the operator {node.op_type} where {operator} belongs")
            name = origin
        return node

    def inputs_of(self, name: str, operator: str, count: int) -> list[str]:
        """The first inputs of what `find` finds."""
        inputs = list(self.find(name, operator).input)[:count]
        if len(inputs) < count or not all(inputs):
            raise NotRecognised(f"the operator {operator} without {count} inputs")
        return inputs

    def attribute(self, node: NodeProto, name: str, default: Any) -> Any:
        return attribute(node, name, default)

    def behind(self, name: str, *ends: str) -> Iterator[NodeProto]:
        """Every node that `name` depends on, but not through one of `ends`; the nearest come first."""
        seen, names = set(ends), deque([name])
        while names:
            name = names.popleft()
            node = self._producers.get(name)
            if node is None or name in seen:
                continue
            seen.update(node.output)
            yield node
            names.extend(reads(node))

    def either_side(self, name: str, operator: str) -> list[tuple[str, str]]:
        """The two inputs of a commutative operator in both orders; nothing if `name` is from another one."""
        node = self._producers.get(name)
        if node is None or node.op_type != operator:
            return []
        left, right = node.input
        return [(left, right), (right, left)]

    def source(self, name: str) -> str:
        """What `name` is made of, past everything that only moves, scales or masks numbers."""
        while (origin := self.step(name)) is not None:
            name = origin
        return name

    def step(self, name: str) -> str | None:
        """One operator back from `name`; None at a constant, an input, or an operator that makes new numbers."""
        node = self._producers.get(name)
        if node is None or self.constant(name) is not None:
            return None
        if node.op_type == "Where":
            _, chosen, otherwise = node.input
            return str(chosen if self.constant(otherwise) is not None else otherwise)
        if node.op_type == "Mul" and node.input[0] in self._sizes:
            return str(node.input[1])
        return node.input[DATA_INPUT[node.op_type]] if node.op_type in DATA_INPUT else None

    def constant(self, name: str) -> Array | None:
        return self._graph.array(name)

    def weights(self, *names: str) -> list[Array]:
        """The constants of these names."""
        found = [value for name in names if (value := self.constant(name)) is not None]
        if len(found) != len(names):
            raise NotRecognised(f"one of {', '.join(map(repr, names))} is no constant")
        return found

    def number(self, name: str) -> float | None:
        """The value of a constant with one element."""
        value = self.constant(name)
        return None if value is None or value.size != 1 else value.item()

    def sizes(self, name: str) -> list[int]:
        """The constant ones of a shape's sizes, which a concatenation may join with others."""
        value, node = self.constant(name), self._producers.get(name)
        if value is not None:
            return [int(size) for size in value.ravel()]
        if node is None or node.op_type != "Concat":
            return []
        return [size for part in node.input for size in self.sizes(part)]

    def norm(self, name: str) -> tuple[Norm, str]:
        """name <- LayerNormalization <- x, weight, bias"""
        x, *names = self.inputs_of(name, "LayerNormalization", 3)
        epsilon = self.attribute(self.find(name, "LayerNormalization"), "epsilon", 1e-5)
        weight, bias = self.weights(*names)
        return Norm(weight, bias, epsilon), x

    def mlp(self, name: str) -> tuple[Mlp, str]:
        """name <- Linear <- ReLU <- Linear <- x"""
        second, between = self.need_linear(name)
        first, x = self.need_linear(between)
        return Mlp(first, second), x

    def need_linear(self, name: str) -> tuple[Linear, str]:
        source = self.source(name)
        if (found := self.linear(source)) is None:
            raise NotRecognised(f"the operator {self.node(source).op_type} where a linear layer belongs")
        return found

    def linear(self, name: str) -> tuple[Linear, str] | None:
        """name <- (Add <- bias) <- MatMul <- x, weight; with reshapes between, and a bias that may come in two parts"""
        biases: list[Array] = []
        while (node := self._producers.get(name)) is not None and node.op_type != "MatMul":
            if node.op_type == "Reshape":
                name = node.input[0]
            elif node.op_type == "Add" and (bias := self.constant(node.input[1])) is not None:
                # A row that is added to every other one.
                if bias.shape[-1:] != (bias.size,):
                    return None
                biases.append(bias.reshape(-1))
                name = node.input[0]
            else:
                return None
        if node is None:
            return None
        x, right = node.input
        weight = self.constant(right)
        if weight is None or weight.ndim != 2:
            return None
        bias = np.zeros(weight.shape[1], weight.dtype)
        for part in biases:
            bias = bias + part
        return (Linear(weight, bias), x) if bias.shape == weight.shape[1:] else None
