"""Reads the parts of a GLiNER out of a graph that someone exported: one method a block, from the output to the input.

Each weight is known by what stands before and behind it. Nothing that is found here is trusted: `convert.py` compares
what is built from these parts with the original.

In the drawings the data comes from the right. What only moves, scales or masks numbers is left out.
"""

import traceback

import numpy as np
from onnx import GraphProto

from functions.extract.graph.parts import Array, Encoder, Gliner, Layer, Linear, Lstm, Norm, SpanHead
from functions.extract.graph.walk import NotRecognised, Walk

GELU = {"Mul", "Div", "Add", "Erf", "Gelu"}
# Far beyond any checkpoint: a damaged number must not make a graph that fills the memory.
WIDEST_SPAN, FARTHEST_POSITION = 1000, 1_000_000


def read(graph: GraphProto) -> Gliner:
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
        return Gliner(self._class_token(), table, norm, encoder, head)

    def _span_head(self, logits: str) -> tuple[SpanHead, str]:
        """The projection is there where the encoder is not as wide as the head.

        logits <- Einsum <-+- Mlp span <- Concat <-+- Mlp start <-+- LSTM <-+- (Linear projection) <- vectors
                           |                       +- Mlp end <---+         |
                           +- Mlp label <-----------------------------------+
        """
        spans, labels = self._walk.inputs_of(self._walk.node(logits), "Einsum", 2)
        label, marks = self._walk.mlp(labels)
        span, joined = self._walk.mlp(spans)
        sides = self._walk.inputs_of(self._walk.behind(joined), "Concat", 2)
        (start, start_input), (end, end_input) = map(self._walk.mlp, sides)
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
        node = self._walk.node(spans)
        shape = self._walk.sizes(self._walk.input(node, 1)) if node.op_type == "Reshape" else []
        width = next((size for size in shape if size > 0), 0)
        if not 0 < width <= WIDEST_SPAN:
            raise NotRecognised("no greatest width of spans")
        return width

    def _lstm(self, states: str) -> tuple[Lstm, str]:
        """states <- LSTM <- words, weights, recurrence, bias"""
        node = self._walk.behind(states)
        if node.op_type != "LSTM":
            raise NotRecognised(f"words that come from the operator {node.op_type}, not from an LSTM")
        words, *names = (self._walk.input(node, index) for index in range(4))
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
        query, key, value, positions, heads = self._attention(context, below)
        return Layer(query, key, value, *positions, output, attention_norm, up, down, norm), heads, below

    def _attention(self, context: str, below: str) -> tuple[Linear, Linear, Linear, tuple[Array, Array], int]:
        """Query, key, value, the tables of positions for both, and the number of heads.

        context <- MatMul <-+- Softmax <- Add <-+- MatMul <- query (below), key (below)
                            |                   +- MatMul <- query (below), key (positions)
                            |                   +- MatMul <- key (below), query (positions)
                            +- value (below)
        """
        probabilities, values = self._walk.inputs_of(self._walk.behind(context), "MatMul", 2)
        value, value_input = self._walk.need_linear(values)
        softmax = self._walk.behind(probabilities)
        if softmax.op_type != "Softmax" or self._walk.source(value_input) != below:
            raise NotRecognised("an attention block without softmax or with values from elsewhere")
        products = self._products(self._walk.input(softmax, 0))
        query, key, heads = self._query_and_key(products, below)
        return query, key, value, self._positions(products, below, query, key), heads

    def _products(self, scores: str) -> list[tuple[str, str]]:
        """scores <- Add <- .. <- Add <- MatMul <- left, right; both sides of every product"""
        node = self._walk.behind(scores)
        if node.op_type == "Add":
            return [pair for side in node.input if self._walk.constant(side) is None for pair in self._products(side)]
        left, right = self._walk.inputs_of(node, "MatMul", 2)
        return [(left, right)]

    def _query_and_key(self, products: list[tuple[str, str]], below: str) -> tuple[Linear, Linear, int]:
        """Of the product in which both sides are made of the layer's input; and the number of heads."""
        for left, right in products:
            (query, query_input), (key, key_input) = self._walk.need_linear(left), self._walk.need_linear(right)
            if self._walk.source(query_input) == self._walk.source(key_input) == below:
                return query, key, self._heads(left)
        raise NotRecognised("no product of queries and keys")

    def _heads(self, split: str) -> int:
        """split <- Reshape [.., heads, ..] <- Linear; what the others reshape afterwards does not count"""
        heads = 0
        name: str | None = split
        while name is not None and self._walk.linear(name) is None:
            node = self._walk.node(name)
            if node.op_type == "Reshape":
                heads = next((size for size in self._walk.sizes(self._walk.input(node, 1)) if size > 1), heads)
            name = self._walk.step(name)
        if not heads:
            raise NotRecognised("no number of heads")
        return heads

    def _positions(
        self, products: list[tuple[str, str]], below: str, query: Linear, key: Linear
    ) -> tuple[Array, Array]:
        """The projected tables of the product of a query with relative positions, and of a key with them."""
        tables: dict[int, Array] = {}
        for left, right in products:
            (content, _), (position, table) = self._walk.need_linear(left), self._walk.need_linear(right)
            if self._walk.source(table) != below:
                # The walk gives out one array for one constant.
                tables[id(content.weight)] = position(self._position_table(table))
        if len(products) != 3 or set(tables) != {id(query.weight), id(key.weight)}:
            raise NotRecognised("attention without both of DeBERTa's relative positions")
        return tables[id(query.weight)], tables[id(key.weight)]

    def _position_table(self, name: str) -> Array:
        """name <- (LayerNormalization) <- constant; [2 x span, hidden]"""
        source = self._walk.source(name)
        if (value := self._walk.constant(source)) is None:
            norm, inner = self._walk.norm(source)
            value = norm(*self._walk.weights(self._walk.source(inner)))
        return value.reshape(-1, value.shape[-1])

    def _max_position(self, position_span: int) -> int:
        """.. <- Div <- Log, constant log((max position - 1) / middle); middle is half of the span"""
        logarithms = {output for node in self._walk.nodes("Log") for output in node.output}
        for node in self._walk.nodes("Div"):
            divisor = self._walk.number(self._walk.input(node, 1))
            if divisor is not None and node.input[0] in logarithms:
                limit = round(position_span // 2 * float(np.exp(np.float64(divisor)))) + 1
                if 0 < limit <= FARTHEST_POSITION:
                    return limit
        raise NotRecognised("no logarithmic buckets of relative positions")

    def _embeddings(self, embedded: str) -> tuple[Array, Norm]:
        """embedded <- LayerNormalization <- Gather <- table, input_ids"""
        norm, rows = self._walk.norm(embedded)
        table, tokens = self._walk.inputs_of(self._walk.node(rows), "Gather", 2)
        if tokens != self._walk.inputs[0]:
            raise NotRecognised("the first layer does not look its input up in a table")
        return self._walk.weights(table)[0], norm

    def _is_embedded(self, name: str) -> bool:
        node = self._walk.node(name)
        return node.op_type == "LayerNormalization" and self._walk.node(node.input[0]).op_type == "Gather"

    def _class_token(self) -> int:
        """.. <- Equal <- input_ids, constant"""
        for node in self._walk.nodes("Equal"):
            for side, other in self._walk.either_side(node, "Equal"):
                token = self._walk.number(other)
                if side == self._walk.inputs[0] and token is not None:
                    return int(token)
        raise NotRecognised("no token that marks the labels")

    def _residual(self, total: str) -> tuple[Linear, str, str]:
        """total <- Add <- Linear (x), y; returns the linear layer, x, and where y is from"""
        for side, other in self._walk.either_side(self._walk.node(total), "Add"):
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
            elif (node := self._walk.producer(name)) is not None and self._walk.constant(name) is None:
                seen.add(node.op_type)
                names += node.input
        if len(found) == 1 and seen & {"Erf", "Gelu"}:
            return found.popitem()[1]
        raise NotRecognised("a feed-forward block without GELU")
