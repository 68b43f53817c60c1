"""The parts of a GLiNER that someone exported to ONNX: its weights, found by how the graph uses them.

Exporters name nodes as they like, and each version of torch writes other operators between the ones that matter. So
the graph is walked backwards from its output, past everything that only moves or masks numbers, and each weight is
known by what stands before and behind it. Nothing that is found here is trusted: `functions.extract.graph` compares
what is built from these parts with the original.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from onnx import numpy_helper

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

Array = NDArray[Any]

# Where the data comes in, of operators that leave the numbers as they are (or scale or mask them).
DATA_INPUT = {
    **dict.fromkeys(["Identity", "Cast", "Dropout", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"], 0),
    **dict.fromkeys(["Expand", "Tile", "Slice", "GatherElements", "GatherND", "Relu", "Div"], 0),
    "ScatterND": 2,
}
GELU = {"Mul", "Div", "Add", "Erf", "Gelu"}


class NotRecognised(Exception):
    """The graph is no GLiNER of the kind that can be rebuilt; says what was looked for."""


@dataclass(frozen=True)
class Linear:
    """x @ weight + bias; weight [in, out], bias [out]."""

    weight: Array
    bias: Array


@dataclass(frozen=True)
class Norm:
    """Layer normalisation over the last axis."""

    weight: Array
    bias: Array
    epsilon: float


@dataclass(frozen=True)
class Mlp:
    """second(relu(first(x)))."""

    first: Linear
    second: Linear


@dataclass(frozen=True)
class Layer:
    """One layer of DeBERTa's encoder; `position_key` and `position_query` are [2 x span, hidden], already projected."""

    query: Linear
    key: Linear
    value: Linear
    position_key: Array
    position_query: Array
    output: Linear
    attention_norm: Norm
    up: Linear
    down: Linear
    norm: Norm


@dataclass(frozen=True)
class Lstm:
    """One bidirectional layer with ONNX's own layout of the weights: [2, 4 x hidden, in], .. and [2, 8 x hidden]."""

    weight: Array
    recurrence: Array
    bias: Array


@dataclass(frozen=True)
class Gliner:
    """A span model of the `gliner` package: markerV0 over a DeBERTa v2 or v3 encoder.

    `position_span` is the number of buckets to either side, `max_position` the distance that fills the last one.
    """

    class_token: int
    max_width: int
    heads: int
    position_span: int
    max_position: int
    embeddings: Array
    embeddings_norm: Norm
    layers: list[Layer]
    projection: Linear | None
    lstm: Lstm
    start: Mlp
    end: Mlp
    span: Mlp
    label: Mlp


def recognise(graph: "GraphProto") -> Gliner:
    """Raises NotRecognised."""
    return _Reader(graph).gliner()


class _Reader:
    def __init__(self, graph: "GraphProto") -> None:
        self._graph = graph
        self._producers: dict[str, NodeProto] = {output: node for node in graph.node for output in node.output}
        self._initializers = {tensor.name: tensor for tensor in graph.initializer}
        self._cache: dict[str, Array | None] = {}

    def gliner(self) -> Gliner:
        spans, labels = self._inputs(self._node(self._graph.output[0].name), "Einsum")
        label, words = self._mlp(labels)
        span, joined = self._mlp(spans)
        (start, start_input), (end, end_input) = map(self._mlp, self._inputs(self._behind(joined), "Concat"))
        lstm, lstm_input = self._lstm(start_input)
        top = self._source(lstm_input)
        if self._source(words) != top or self._source(end_input) != self._source(start_input):
            raise NotRecognised("labels, starts and ends of spans do not look at the same words")
        projection = None
        if (found := self._linear(top)) is not None:
            projection, top = found[0], self._source(found[1])
        layers: list[Layer] = []
        heads: set[int] = set()
        while not self._is_embedding(top):
            layer, layer_heads, top = self._layer(top)
            layers.insert(0, layer)
            heads.add(layer_heads)
        if len(heads) != 1:
            raise NotRecognised(f"the layers have {sorted(heads)} heads")
        norm, table = self._norm(self._node(top))
        position_span = len(layers[0].position_key) // 2
        return Gliner(
            class_token=self._class_token(),
            max_width=self._max_width(spans),
            heads=heads.pop(),
            position_span=position_span,
            max_position=self._max_position(position_span),
            embeddings=self._embeddings(table),
            embeddings_norm=norm,
            layers=layers,
            projection=projection,
            lstm=lstm,
            start=start,
            end=end,
            span=span,
            label=label,
        )

    def _layer(self, output: str) -> tuple[Layer, int, str]:
        """The layer that ends with `output`, its number of heads, and the layer's input."""
        norm, total = self._norm(self._node(output))
        down, activated, middle = self._residual(total)
        up, up_input = self._before_gelu(activated)
        if self._source(up_input) != middle:
            raise NotRecognised("a feed-forward block does not begin with the sum's other side")
        attention_norm, total = self._norm(self._node(middle))
        attended, context, top = self._residual(total)
        probabilities, values = self._inputs(self._behind(context), "MatMul")
        value, value_input = self._need_linear(values)
        softmax = self._behind(probabilities)
        if softmax.op_type != "Softmax" or self._source(value_input) != top:
            raise NotRecognised("an attention block without softmax or with values from elsewhere")
        products = [self._inputs(node, "MatMul") for node in self._products(softmax.input[0])]
        query, key, heads = self._query_and_key(products, top)
        positions = self._positions(products, top, query, key)
        layer = Layer(query, key, value, *positions, attended, attention_norm, up, down, norm)
        return layer, heads, top

    def _query_and_key(self, products: list[tuple[str, str]], top: str) -> tuple[Linear, Linear, int]:
        """Of the product in which both sides are made of the layer's input; and the number of heads."""
        for left, right in products:
            (query, query_input), (key, key_input) = self._need_linear(left), self._need_linear(right)
            if self._source(query_input) == self._source(key_input) == top:
                return query, key, self._heads(left)
        raise NotRecognised("no product of queries and keys")

    def _positions(self, products: list[tuple[str, str]], top: str, query: Linear, key: Linear) -> tuple[Array, Array]:
        """The tables of the products of a query with relative positions, and of a key."""
        tables: dict[int, Array] = {}
        for left, right in products:
            (content, _), (position, position_input) = self._need_linear(left), self._need_linear(right)
            if self._source(position_input) != top:
                tables[id(content.weight)] = self._table(position_input) @ position.weight + position.bias
        if len(products) != 3 or set(tables) != {id(query.weight), id(key.weight)}:
            raise NotRecognised("attention without both of DeBERTa's relative positions")
        return tables[id(query.weight)], tables[id(key.weight)]

    def _residual(self, total: str) -> tuple[Linear, str, str]:
        """Of `linear(x) + y`: the linear, x and where y is from."""
        node = self._node(total)
        if node.op_type == "Add":
            for side, other in (tuple(node.input), tuple(reversed(node.input))):
                found = self._linear(side)
                if found is not None and self._constant(other) is None:
                    return *found, self._source(other)
        raise NotRecognised("a layer normalisation that does not stand behind a residual sum")

    def _before_gelu(self, name: str) -> tuple[Linear, str]:
        seen: set[str] = set()
        found: dict[str, tuple[Linear, str]] = {}
        names = [name]
        while names:
            name = names.pop()
            if (linear := self._linear(name)) is not None:
                found[name] = linear
            elif (node := self._producers.get(name)) is not None and self._constant(name) is None:
                seen.add(node.op_type)
                if not seen <= GELU:
                    break
                names += node.input
        if len(found) == 1 and seen & {"Erf", "Gelu"}:
            return found.popitem()[1]
        raise NotRecognised("a feed-forward block without GELU")

    def _products(self, name: str) -> Iterator["NodeProto"]:
        """The matrix products that are added up in `name`."""
        node = self._behind(name)
        if node.op_type == "MatMul":
            yield node
        elif node.op_type == "Add":
            for side in node.input:
                if self._constant(side) is None:
                    yield from self._products(side)
        else:
            raise NotRecognised(f"attention scores from the operator {node.op_type}")

    def _heads(self, name: str) -> int:
        """Heads that the output of a linear is cut into: a constant of the first reshape behind it."""
        heads = 0
        while self._linear(name) is None:
            node = self._node(name)
            if node.op_type == "Reshape" and (sizes := [size for size in self._sizes(node.input[1]) if size > 1]):
                heads = sizes[0]
            name = node.input[DATA_INPUT[node.op_type]]
        if not heads:
            raise NotRecognised("no number of heads")
        return heads

    def _sizes(self, name: str) -> list[int]:
        """The constant ones of a shape's sizes."""
        value = self._constant(name)
        if value is None and (node := self._node(name)).op_type == "Concat":
            parts = [self._constant(part) for part in node.input]
            return [int(size) for part in parts if part is not None for size in part]
        return [] if value is None else [int(size) for size in value]

    def _lstm(self, name: str) -> tuple[Lstm, str]:
        node = self._behind(name)
        while node.op_type in ("Gather", "Where"):
            node = self._behind(self._data(node))
        if node.op_type != "LSTM":
            raise NotRecognised(f"words that come from the operator {node.op_type}, not from an LSTM")
        weight, recurrence, bias = map(self._constant, node.input[1:4])
        if weight is None or recurrence is None or bias is None or len(weight) != 2:
            raise NotRecognised("an LSTM that is not bidirectional or without constant weights")
        return Lstm(weight, recurrence, bias), node.input[0]

    def _norm(self, node: "NodeProto") -> tuple[Norm, str]:
        if node.op_type != "LayerNormalization":
            raise NotRecognised(f"the operator {node.op_type} where a layer normalisation belongs")
        weight, bias = self._constant(node.input[1]), self._constant(node.input[2])
        if weight is None or bias is None:
            raise NotRecognised("a layer normalisation without constant weights")
        epsilon = next((attribute.f for attribute in node.attribute if attribute.name == "epsilon"), 1e-5)
        return Norm(weight, bias, epsilon), node.input[0]

    def _mlp(self, name: str) -> tuple[Mlp, str]:
        second, between = self._need_linear(name)
        first, begin = self._need_linear(between)
        return Mlp(first, second), begin

    def _need_linear(self, name: str) -> tuple[Linear, str]:
        source = self._source(name)
        found = self._linear(source)
        if found is None:
            raise NotRecognised(f"the operator {self._node(source).op_type} where a linear layer belongs")
        return found

    def _linear(self, name: str) -> tuple[Linear, str] | None:
        """The linear layer whose output is `name`, and its input."""
        node = self._producers.get(name)
        bias: Array | None = None
        if node is not None and node.op_type == "Add":
            for side, other in (tuple(node.input), tuple(reversed(node.input))):
                bias = self._constant(side)
                if bias is not None and bias.ndim == 1:
                    node = self._producers.get(other)
                    break
        if node is None or node.op_type != "MatMul":
            return None
        weight = self._constant(node.input[1])
        if weight is None or weight.ndim != 2:
            return None
        if bias is None or bias.shape != weight.shape[1:]:
            bias = np.zeros(weight.shape[1], weight.dtype)
        return Linear(weight, bias), node.input[0]

    def _table(self, name: str) -> Array:
        """The constant table of relative positions, normalised if the graph does so."""
        source = self._source(name)
        value = self._constant(source)
        if value is None:
            norm, inner = self._norm(self._node(source))
            value = self._constant(self._source(inner))
            if value is not None:
                centred = value - value.mean(-1, keepdims=True)
                value = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + norm.epsilon) * norm.weight + norm.bias
        if value is None:
            raise NotRecognised("relative positions that are no constant table")
        return value.reshape(-1, value.shape[-1])

    def _embeddings(self, name: str) -> Array:
        node = self._node(name)
        value = self._constant(node.input[0]) if node.op_type == "Gather" else None
        if value is None or node.input[1] != self._graph.input[0].name:
            raise NotRecognised("the first layer does not look its input up in a table")
        return value

    def _is_embedding(self, name: str) -> bool:
        node = self._node(name)
        return node.op_type == "LayerNormalization" and self._node(node.input[0]).op_type == "Gather"

    def _class_token(self) -> int:
        tokens = self._graph.input[0].name
        for node in self._graph.node:
            if node.op_type == "Equal" and tokens in node.input:
                value = self._constant(next(name for name in node.input if name != tokens))
                if value is not None and value.size == 1:
                    return int(value.item())
        raise NotRecognised("no token that marks the labels")

    def _max_width(self, spans: str) -> int:
        node = self._node(spans)
        sizes = [size for size in self._sizes(node.input[1]) if size > 0] if node.op_type == "Reshape" else []
        if not sizes:
            raise NotRecognised("no greatest width of spans")
        return sizes[0]

    def _max_position(self, position_span: int) -> int:
        middle = position_span // 2
        logarithms = {output for node in self._graph.node if node.op_type == "Log" for output in node.output}
        for node in self._graph.node:
            if node.op_type == "Div" and node.input[0] in logarithms:
                value = self._constant(node.input[1])
                if value is not None and value.size == 1:
                    return round(middle * float(np.exp(np.float64(value.item())))) + 1
        raise NotRecognised("no logarithmic buckets of relative positions")

    def _inputs(self, node: "NodeProto", operator: str) -> tuple[str, str]:
        if node.op_type != operator or len(node.input) != 2:
            raise NotRecognised(f"the operator {node.op_type} with {len(node.input)} inputs, not {operator} with two")
        return node.input[0], node.input[1]

    def _behind(self, name: str) -> "NodeProto":
        return self._node(self._source(name))

    def _source(self, name: str) -> str:
        """What `name` is made of, past everything that only moves, scales or masks numbers."""
        while (node := self._producers.get(name)) is not None and self._constant(name) is None:
            if node.op_type in DATA_INPUT:
                name = node.input[DATA_INPUT[node.op_type]]
            elif node.op_type in ("Gather", "Where", "Mul"):
                name = self._data(node)
            else:
                break
        return name

    def _data(self, node: "NodeProto") -> str:
        """Of a gather, a mask or a product: the input that the numbers come from."""
        if node.op_type != "Where":
            return str(node.input[0])
        _, chosen, otherwise = node.input
        return str(chosen if self._constant(otherwise) is not None else otherwise)

    def _node(self, name: str) -> "NodeProto":
        node = self._producers.get(name)
        if node is None:
            raise NotRecognised(f"{name!r} is no operator's output")
        return node

    def _constant(self, name: str) -> Array | None:
        """The value of an initializer or of a constant, also behind Identity."""
        while (node := self._producers.get(name)) is not None and node.op_type == "Identity":
            name = node.input[0]
        if name in self._cache:
            return self._cache[name]
        value: Array | None = None
        if name in self._initializers:
            value = numpy_helper.to_array(self._initializers[name])
        elif node is not None and node.op_type == "Constant":
            tensor = next((attribute.t for attribute in node.attribute if attribute.name == "value"), None)
            value = None if tensor is None else numpy_helper.to_array(tensor)
        if value is not None and value.dtype == np.float64:
            value = value.astype(np.float32)
        self._cache[name] = value
        return value
