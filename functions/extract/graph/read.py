"""Reads the parts of a GLiNER out of an export's normal form: one method a block, from the output to the input.

Each weight is known by what stands before and behind it. Nothing that is found here is trusted: `convert.py` compares
what is built from these parts with the original.

In the drawings the data comes from the right. What only moves, scales or masks numbers is left out.
"""

import math
import traceback

import numpy as np

from functions.extract.graph.normal.flat import Flat
from functions.extract.graph.parts import Array, Encoder, Gliner, Layer, Linear, Lstm, Norm, SpanHead
from functions.extract.graph.walk import NotRecognised, Walk

GELU = {"Mul", "Div", "Add", "Erf", "Gelu"}
# Far beyond any checkpoint: a damaged number must not make a graph that fills the memory.
WIDEST_SPAN, FARTHEST_POSITION = 1000, 1_000_000


def read(graph: Flat) -> Gliner:
    """Raises NotRecognised, whatever is odd about the graph; MemoryError and OSError say nothing about it."""
    try:
        return _Reader(Walk(graph)).gliner()
    except (MemoryError, OSError):
        raise
    except Exception as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__)[1:] if frame.filename == __file__]
        blocks = dict.fromkeys(frame.name.strip("_") for frame in frames if frame.name.isidentifier())
        reason = str(error) if isinstance(error, NotRecognised) else repr(error)
        raise NotRecognised(f"{' <- '.join(blocks) or 'graph'}: {reason}") from error


class _Reader:
    """A method takes the name of a block's output. It returns the block, and the name of the block's input."""

    def __init__(self, walk: Walk) -> None:
        self._walk = walk

    def gliner(self) -> Gliner:
        """logits <- span head <- encoder <- embeddings <- input_ids"""
        head, vectors = self._span_head(self._walk.outputs[0])
        encoder, embedded = self._encoder(vectors)
        table, norm = self._embeddings(embedded)
        return Gliner(self._class_token(self._walk.outputs[0], vectors), table, norm, encoder, head)

    def _span_head(self, logits: str) -> tuple[SpanHead, str]:
        """The projection is there where the encoder is not as wide as the head.

        logits <- Einsum <-+- Mlp span <- Concat <-+- Mlp start <-+- LSTM <-+- (Linear projection) <- vectors
                           |                       +- Mlp end <---+         |
                           +- Mlp label <-----------------------------------+
        """
        spans, labels = self._walk.inputs_of(logits, "Einsum", 2)
        (span, joined), (label, marks) = self._walk.mlp(spans), self._walk.mlp(labels)
        (start, start_input), (end, end_input) = map(self._walk.mlp, self._walk.inputs_of(joined, "Concat", 2))
        lstm, words = self._lstm(start_input)
        vectors = self._walk.source(words)
        if self._walk.source(marks) != vectors or self._walk.source(end_input) != self._walk.source(start_input):
            raise NotRecognised("labels, starts and ends of spans do not look at the same words")
        projection = None
        if (found := self._walk.linear(vectors)) is not None:
            projection, vectors = found[0], self._walk.source(found[1])
        return SpanHead(projection, lstm, start, end, span, label, self._max_width(spans)), vectors

    def _max_width(self, spans: str) -> int:
        """spans <- Reshape [.., max width, ..], whose other sizes are not constant or -1"""
        _, shape = self._walk.inputs_of(spans, "Reshape", 2)
        width = next((size for size in self._walk.sizes(shape) if size > 0), 0)
        if not 0 < width <= WIDEST_SPAN:
            raise NotRecognised(f"{width} words as the greatest width of spans")
        return width

    def _lstm(self, states: str) -> tuple[Lstm, str]:
        """states <- LSTM <- words, weights, recurrence, bias"""
        words, *names = self._walk.inputs_of(states, "LSTM", 4)
        lstm = Lstm(*self._walk.weights(*names))
        if len(lstm.weight) != 2:
            raise NotRecognised("an LSTM that is not bidirectional")
        return lstm, words

    def _encoder(self, vectors: str) -> tuple[Encoder, str]:
        """vectors <- layer <- .. <- layer <- embedded"""
        layers: list[Layer] = []
        heads: set[int] = set()
        while not self._is_embedded(vectors):
            layer, layer_heads, vectors = self._layer(vectors)
            layers.insert(0, layer)
            heads.add(layer_heads)
        if len(heads) != 1:
            raise NotRecognised(f"the layers have {sorted(heads)} heads")
        position_span = len(layers[0].position_key) // 2
        return Encoder(heads.pop(), position_span, self._max_position(position_span), layers), vectors

    def _layer(self, vectors: str) -> tuple[Layer, int, str]:
        """Also returns the number of heads.

        vectors <- LayerNormalization <- Add <-+- Linear down <- GELU <- Linear up <-+- middle
                                               +-------------------------------------+
        middle <- LayerNormalization <- Add <-+- Linear output <- attention <-+- vectors of the layer below
                                              +-------------------------------+
        """
        norm, total = self._walk.norm(vectors)
        down, activated, middle = self._residual(total)
        up, up_input = self._before_gelu(activated)
        if self._walk.source(up_input) != middle:
            raise NotRecognised("a feed-forward block does not begin with the sum's other side")
        attention_norm, total = self._walk.norm(middle)
        output, context, below = self._residual(total)
        attention, heads = self._attention(context, below)
        return Layer(*attention, output, attention_norm, up, down, norm), heads, below

    def _attention(self, context: str, below: str) -> tuple[tuple[Linear, Linear, Linear, Array, Array], int]:
        """Query, key, value, the projected tables of positions for query and for key; and the number of heads.

        context <- MatMul <-+- Softmax <- Add <-+- MatMul <- query (below), key (below)
                            |                   +- MatMul <- query (below), constant: key (positions)
                            |                   +- MatMul <- key (below), constant: query (positions)
                            +- value (below)
        """
        probabilities, values = self._walk.inputs_of(context, "MatMul", 2)
        value, value_input = self._walk.need_linear(values)
        contents: list[tuple[Linear, Linear, int]] = []
        tables: dict[int, Array] = {}
        for left, right, transposed in self._products(*self._walk.inputs_of(probabilities, "Softmax", 1)):
            one, origin = self._walk.need_linear(left)
            if self._walk.constant(self._walk.source(right)) is not None:
                # The walk gives out one array for one constant.
                tables[id(one.weight)] = self._position_table(right, -2 if transposed else -1)
                continue
            other, other_origin = self._walk.need_linear(right)
            if {self._walk.source(origin), self._walk.source(other_origin)} == {below}:
                contents.append((one, other, self._heads(left)))
        if len(contents) != 1 or self._walk.source(value_input) != below:
            raise NotRecognised("attention without a product of queries and keys, or with values from elsewhere")
        query, key, heads = contents[0]
        if set(tables) != {id(query.weight), id(key.weight)}:
            raise NotRecognised("attention without both of DeBERTa's relative positions")
        return (query, key, value, tables[id(query.weight)], tables[id(key.weight)]), heads

    def _products(self, scores: str) -> list[tuple[str, str, bool]]:
        """scores <- Add <- .. <- Add <- MatMul <- left, right; both sides of every product, and if the right one is
        transposed"""
        node = self._walk.node(self._walk.source(scores))
        if node.op_type == "Add":
            return [pair for side in node.input if self._walk.constant(side) is None for pair in self._products(side)]
        left, right = self._walk.inputs_of(scores, "MatMul", 2)
        return [(left, right, bool(self._walk.attribute(self._walk.find(scores, "MatMul"), "transB", 0)))]

    def _heads(self, split: str) -> int:
        """split <- Transpose <- Reshape [.., heads, ..] <- Linear; what else reshapes does not count"""
        heads, turned = 0, False
        while (step := self._walk.step(split)) is not None:
            node = self._walk.node(split)
            if node.op_type == "Reshape" and turned:
                heads = next((size for size in self._walk.sizes(node.input[1]) if size > 1), heads)
            turned = node.op_type == "Transpose" or (turned and node.op_type != "Reshape")
            split = step
        if not heads:
            raise NotRecognised("no number of heads")
        return heads

    def _position_table(self, name: str, rows: int) -> Array:
        """name <- Transpose <- constant [heads, 2 x span, head size]; [2 x span, hidden]

        rows: the axis of the positions in `name`.
        """
        while (value := self._walk.constant(name)) is None:
            if (node := self._walk.node(name)).op_type == "Transpose":
                order = list(self._walk.attribute(node, "perm", []))
                rows = order[rows] - len(order)
            name = self._walk.step(name) or ""
        by_head = np.moveaxis(value, rows, 0)
        return by_head.reshape(len(by_head), -1)

    def _max_position(self, position_span: int) -> float:
        """.. <- Div <- Log, constant log((max position - 1) / middle); middle is half of the span"""
        logarithms = {output for node in self._walk.nodes("Log") for output in node.output}
        for node in self._walk.nodes("Div"):
            divisor = self._walk.number(node.input[1])
            if divisor is not None and node.input[0] in logarithms:
                limit = position_span // 2 * float(np.exp(np.float64(divisor))) + 1
                if 0 < limit <= FARTHEST_POSITION:
                    # It is a whole number, unless its logarithm was rounded to 16 bits.
                    return round(limit) if math.isclose(limit, round(limit), rel_tol=1e-5) else limit
        raise NotRecognised("no logarithmic buckets of relative positions")

    def _embeddings(self, embedded: str) -> tuple[Array, Norm]:
        """embedded <- LayerNormalization <- Gather <- table, input_ids"""
        norm, rows = self._walk.norm(embedded)
        table, tokens = self._walk.inputs_of(rows, "Gather", 2)
        if tokens != self._walk.inputs[0]:
            raise NotRecognised("the first layer does not look its input up in a table")
        return self._walk.weights(table)[0], norm

    def _is_embedded(self, name: str) -> bool:
        _, rows = self._walk.norm(name)
        return self._walk.node(rows).op_type == "Gather"

    def _class_token(self, logits: str, vectors: str) -> int:
        """logits <- Einsum <- Mlp label <- vectors, picked at: .. <- Equal <- input_ids, constant"""
        _, labels = self._walk.inputs_of(logits, "Einsum", 2)
        _, marks = self._walk.mlp(labels)
        for node in self._walk.behind(marks, vectors):
            if node.op_type != "Equal":
                continue
            for side, other in self._walk.either_side(node.output[0], "Equal"):
                token = self._walk.number(other)
                if side == self._walk.inputs[0] and token is not None:
                    return int(token)
        raise NotRecognised("no token that marks the labels")

    def _residual(self, total: str) -> tuple[Linear, str, str]:
        """total <- Add <- Linear (x), y; returns the linear layer, x, and where y is from"""
        for side, other in self._walk.either_side(total, "Add"):
            if (found := self._walk.linear(side)) is not None and self._walk.constant(other) is None:
                return *found, self._walk.source(other)
        raise NotRecognised("a layer normalisation that does not stand behind a residual sum")

    def _before_gelu(self, activated: str) -> tuple[Linear, str]:
        """activated <- Mul, Div, Add, Erf in any order, or Gelu <- Linear <- x, as in x * (1 + erf(x / sqrt(2))) / 2"""
        seen: set[str] = set()
        found: dict[str, tuple[Linear, str]] = {}
        names = [activated]
        while names and seen <= GELU:
            name = names.pop()
            if (linear := self._walk.linear(name)) is not None:
                found[name] = linear
            elif (node := self._walk.producer(name)) is not None and node.op_type == "Reshape":
                names.append(node.input[0])
            elif node is not None and self._walk.constant(name) is None:
                seen.add(node.op_type)
                names += node.input
        if len(found) == 1 and seen & {"Erf", "Gelu"}:
            return found.popitem()[1]
        raise NotRecognised("a feed-forward block without GELU")
