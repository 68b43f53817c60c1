"""What all blocks of a graph are written with. Tensors go by their names; rows are tokens or words of all texts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from functions.extract.graph.parts import Array, Linear, Mlp

OPSET, IR_VERSION = 19, 9
# Operators of onnxruntime's own.
CONTRIB = "com.microsoft"
END = 2**60
# Without VNNI, processors add pairs of 8-bit products in 16 bits, which two weights of 8 bits can overflow.
LARGEST_WEIGHT = 63


class Builder:
    """Collects nodes and constants. `batch` and `length`, each [1], are the sizes of the input `input_ids`.

    quantize: every linear layer multiplies 8-bit activations, scaled anew for each call, with weights of 7 bits and a
    scale for each column.
    """

    def __init__(self, *, quantize: bool = False) -> None:
        self._quantize = quantize
        self._nodes: list[NodeProto] = []
        self._initializers: list[TensorProto] = []
        sizes = self.add("Shape", "input_ids")
        self.batch, self.length = (self.add("Gather", sizes, self.constant([axis])) for axis in (0, 1))

    def model(self, inputs: Sequence[ValueInfoProto], output: ValueInfoProto) -> ModelProto:
        graph = helper.make_graph(self._nodes, "gliner", inputs, [output], self._initializers)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)

    def add(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        name = f"{operator}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [name], name, domain=domain, **attributes))
        return name

    def result(self, name: str, operator: str, *inputs: str) -> str:
        """As `add`, with the name that the model's output has."""
        self._nodes.append(helper.make_node(operator, list(inputs), [name]))
        return name

    def constant(self, value: Array | Sequence[int]) -> str:
        array = value if isinstance(value, np.ndarray) else np.array(value, np.int64)
        name = f"constant_{len(self._initializers)}"
        self._initializers.append(numpy_helper.from_array(np.array(array, order="C"), name))
        return name

    def scalar(self, value: int) -> str:
        return self.constant(np.array(value, np.int64))

    def shape(self, *parts: str | int) -> str:
        """A shape of numbers and of tensors with one element."""
        names = [part if isinstance(part, str) else self.constant([part]) for part in parts]
        return self.add("Concat", *names, axis=0)

    def range(self, stop: str) -> str:
        return self.add("Range", self.scalar(0), self.add("Squeeze", stop), self.scalar(1))

    def unsqueeze(self, x: str, axis: int) -> str:
        return self.add("Unsqueeze", x, self.constant([axis]))

    def mlp(self, x: str, mlp: Mlp) -> str:
        return self.linear(self.add("Relu", self.linear(x, mlp.first)), mlp.second)

    def linear(self, x: str, linear: Linear) -> str:
        """`x` is [rows, in]."""
        if self._quantize:
            return self._quantized(x, linear.weight, linear.bias)
        return self.add("Gemm", x, self.constant(linear.weight), self.constant(linear.bias))

    def product(self, x: str, weight: Array) -> str:
        return self._quantized(x, weight) if self._quantize else self.add("MatMul", x, self.constant(weight))

    def gelu(self, x: str, linear: Linear) -> str:
        """The GELU of `linear(x)`."""
        if self._quantize:
            return self.add("Gelu", self.linear(x, linear), domain=CONTRIB)
        product = self.add("MatMul", x, self.constant(linear.weight))
        return self.add("BiasGelu", product, self.constant(linear.bias), domain=CONTRIB)

    def _quantized(self, x: str, weight: Array, *bias: Array) -> str:
        scale = np.maximum(np.abs(weight).max(0) / LARGEST_WEIGHT, np.finfo(np.float32).tiny).astype(np.float32)
        inputs = (np.round(weight / scale).astype(np.int8), scale, np.zeros(len(scale), np.int8), *bias)
        return self.add("DynamicQuantizeMatMul", x, *map(self.constant, inputs), domain=CONTRIB)
