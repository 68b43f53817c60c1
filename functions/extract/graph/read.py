"""Reads the parts of a GLiNER out of a graph that someone exported: one method a block, from the output to the input.

Each weight is known by what stands before and behind it. Nothing that is found here is trusted: `convert.py` compares
what is built from these parts with the original.

In the drawings the data comes from the right. What only moves, scales or masks numbers is left out.
"""

import traceback

import numpy as np
from onnx import GraphProto

from functions.extract.graph.parts import (
    Array,
    BertEncoder,
    DebertaEncoder,
    DebertaLayer,
    Embeddings,
    Gliner,
    Layer,
    Linear,
    Lstm,
    SpanHead,
)
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
        return Gliner(self._class_token(), self._embeddings(embedded), encoder, head)

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

    def _encoder(self, vectors: str) -> tuple[BertEncoder | DebertaEncoder, str]:
        """vectors <- layer <- .. <- layer <- embedded; in DeBERTa every layer knows the distances between tokens"""
        layers: list[Layer] = []
        heads: set[int] = set()
        while not self._is_embedded(vectors):
            layer, layer_heads, vectors = self._layer(vectors)
            layers.insert(0, layer)
            heads.add(layer_heads)
        if len(heads) != 1:
            raise NotRecognised(f"the layers have {sorted(heads)} heads")
        with_positions = [layer for layer in layers if isinstance(layer, DebertaLayer)]
        if not with_positions:
            return BertEncoder(heads.pop(), layers), vectors
        if len(with_positions) != len(layers):
            raise NotRecognised("only some of the layers have relative positions")
        position_span = len(with_positions[0].position_key) // 2
        return DebertaEncoder(heads.pop(), position_span, self._max_position(position_span), with_positions), vectors

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
        projections, tables, heads = self._attention(context, below)
        parts = (*projections, output, attention_norm, up, down, norm)
        return DebertaLayer(*parts, *tables) if tables else Layer(*parts), heads, below

    def _attention(self, context: str, below: str) -> tuple[tuple[Linear, Linear, Linear], list[Array], int]:
        """Query, key, value; the projected tables of positions for query and for key, if any; the number of heads.

        context <- MatMul <-+- Softmax <- (Add <-)+- MatMul <- query (below), key (below)
                            |                     +- (MatMul <- query (below), key (positions))
                            |                     +- (MatMul <- key (below), query (positions))
                            +- value (below)
        """
        probabilities, values = self._walk.inputs_of(context, "MatMul", 2)
        value, value_input = self._walk.need_linear(values)
        contents: list[tuple[Linear, Linear, int]] = []
        tables: dict[int, Array] = {}
        for left, right in self._products(*self._walk.inputs_of(probabilities, "Softmax", 1)):
            (one, _), (other, origin) = self._walk.need_linear(left), self._walk.need_linear(right)
            if self._walk.source(origin) == below:
                contents.append((one, other, self._heads(left, one.weight.shape[1])))
            else:
                # The walk gives out one array for one constant.
                tables[id(one.weight)] = other(self._position_table(origin))
        if len(contents) != 1 or self._walk.source(value_input) != below:
            raise NotRecognised("attention without a product of queries and keys, or with values from elsewhere")
        query, key, heads = contents[0]
        if not tables:
            return (query, key, value), [], heads
        if set(tables) != {id(query.weight), id(key.weight)}:
            raise NotRecognised("attention with one of DeBERTa's relative positions, but not with both")
        return (query, key, value), [tables[id(query.weight)], tables[id(key.weight)]], heads

    def _products(self, scores: str) -> list[tuple[str, str]]:
        """scores <- Add <- .. <- Add <- MatMul <- left, right; both sides of every product"""
        products = []
        for term in self._terms(scores):
            node = self._walk.producer(self._walk.source(term))
            # A mask is added as well.
            if node is not None and node.op_type == "MatMul":
                left, right = node.input
                products.append((left, right))
        return products

    def _terms(self, total: str) -> list[str]:
        """total <- Add <- .. <- Add <- terms"""
        node = self._walk.producer(self._walk.source(total))
        if node is None or node.op_type != "Add":
            return [total]
        return [term for side in node.input for term in self._terms(side)]

    def _heads(self, split: str, hidden: int) -> int:
        """split <- Reshape [.., heads, head size] <- Linear; what the others reshape afterwards does not count

        One of the two may be -1.
        """
        heads = 0
        while self._walk.linear(split) is None:
            node = self._walk.node(split)
            if node.op_type == "Reshape":
                count, size = [0, 0, *self._walk.sizes(node.input[1])][-2:]
                heads = count if count > 0 else hidden // size if count < 0 < size else heads
            split = self._walk.step(split) or ""
        if not heads:
            raise NotRecognised("no number of heads")
        return heads

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
            divisor = self._walk.number(node.input[1])
            if divisor is not None and node.input[0] in logarithms:
                limit = round(position_span // 2 * float(np.exp(np.float64(divisor)))) + 1
                if 0 < limit <= FARTHEST_POSITION:
                    return limit
        raise NotRecognised("no logarithmic buckets of relative positions")

    def _embeddings(self, embedded: str) -> Embeddings:
        """Only one row is added to all tokens: that of their type.

        embedded <- LayerNormalization <- (Add <-)+- Gather <- table, input_ids
                                                  +- (rows of token types)
                                                  +- (rows of positions)
        """
        norm, total = self._walk.norm(embedded)
        terms = self._terms(total)
        (tokens,) = filter(self._looks_tokens_up, terms)
        (table,) = self._walk.weights(self._walk.source(tokens))
        others = [self._rows(term) for term in terms if term != tokens]
        if not others:
            return Embeddings(table, norm)
        added: Array = sum(others[1:], others[0])
        return Embeddings(table, norm, added) if len(added) > 1 else Embeddings(table + added, norm)

    def _rows(self, name: str) -> Array:
        """name <- (Gather <-)+- rows [rows, hidden]; what is left is one row where the same one is taken for all
        +- (numbers)
        """
        (rows,) = self._walk.weights(self._walk.source(name))
        rows = rows.reshape(-1, rows.shape[-1])
        if (numbers := self._index(name)) is not None:
            source = self._walk.source(numbers)
            node, number = self._walk.producer(source), self._walk.constant(source)
            if number is not None:
                rows = rows[np.unique(number) if number.max() == number.min() else number.ravel()]
            elif node is not None and node.op_type == "ConstantOfShape":
                rows = rows[:1]
        return rows

    def _index(self, name: str) -> str | None:
        """name <- Gather <- table, index"""
        node = self._walk.producer(name)
        while node is not None and node.op_type != "Gather":
            name = self._walk.step(name) or ""
            node = self._walk.producer(name)
        return None if node is None else node.input[1]

    def _looks_tokens_up(self, name: str) -> bool:
        tokens: str = self._walk.inputs[0]
        return self._index(name) == tokens

    def _is_embedded(self, name: str) -> bool:
        _, total = self._walk.norm(name)
        return any(map(self._looks_tokens_up, self._terms(total)))

    def _class_token(self) -> int:
        """.. <- Equal <- input_ids, constant"""
        for node in self._walk.nodes("Equal"):
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
            elif (node := self._walk.producer(name)) is not None and self._walk.constant(name) is None:
                seen.add(node.op_type)
                names += node.input
        if len(found) == 1 and seen & {"Erf", "Gelu"}:
            return found.popitem()[1]
        raise NotRecognised("a feed-forward block without GELU")
