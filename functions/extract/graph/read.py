"""Reads the parts of a GLiNER out of an export's normal form: one method a block, from the output to the input.

Each weight is known by what stands before and behind it. Nothing that is found here is trusted: `convert.py` compares
what is built from these parts with the original.

In the drawings the data comes from the right. What only moves, scales or masks numbers is left out.
"""

import math
import traceback

import numpy as np

from functions.extract.graph.normal.flat import Flat
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
# How the number of a token's row may come from the token.
TOKEN = {"", "Mod"}
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
        class_token = self._class_token(self._walk.outputs[0], vectors)
        return Gliner(class_token, self._embeddings(embedded), encoder, head)

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
                            |                     +- (MatMul <- query (below), constant: key (positions))
                            |                     +- (MatMul <- key (below), constant: query (positions))
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
                contents.append((one, other, self._heads(left, one.weight.shape[1])))
        if len(contents) != 1 or self._walk.source(value_input) != below:
            raise NotRecognised("attention without a product of queries and keys, or with values from elsewhere")
        query, key, heads = contents[0]
        if not tables:
            return (query, key, value), [], heads
        if set(tables) != {id(query.weight), id(key.weight)}:
            raise NotRecognised("attention with one of DeBERTa's relative positions, but not with both")
        return (query, key, value), [tables[id(query.weight)], tables[id(key.weight)]], heads

    def _products(self, scores: str) -> list[tuple[str, str, bool]]:
        """scores <- Add <- .. <- Add <- MatMul <- left, right; both sides of every product, and if the right one is
        transposed"""
        products = []
        for term in self._terms(scores):
            node = self._walk.producer(self._walk.source(term))
            # A mask is added as well.
            if node is not None and node.op_type in {"MatMul", "FusedMatMul"}:
                left, right = node.input
                products.append((left, right, bool(self._walk.attribute(node, "transB", 0))))
        return products

    def _terms(self, total: str) -> list[str]:
        """total <- Add <- .. <- Add <- terms"""
        node = self._walk.producer(self._walk.source(total))
        if node is None or node.op_type != "Add":
            return [total]
        return [term for side in node.input for term in self._terms(side)]

    def _heads(self, split: str, hidden: int) -> int:
        """split <- Transpose <- Reshape [.., heads, head size] <- Linear; what else reshapes does not count

        One of the two may be -1.
        """
        heads, turned = 0, False
        while (step := self._walk.step(split)) is not None:
            node = self._walk.node(split)
            if node.op_type == "Reshape" and turned:
                count, size = [0, 0, *self._walk.sizes(node.input[1])][-2:]
                heads = count if count > 0 else hidden // size if count < 0 < size else heads
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

    def _embeddings(self, embedded: str) -> Embeddings:
        """Only one row is added to all tokens: that of their type.

        embedded <- LayerNormalization <- (Add <-)+- Gather <- table, (Mod <-) input_ids
                                                  +- (Gather <- cases, Div <- input_ids, rows of the table)
                                                  +- (rows of token types)
                                                  +- (rows of positions)
        """
        norm, total = self._walk.norm(embedded)
        terms = {term: self._looked_up_by(term) for term in self._terms(total)}
        (tokens,) = (term for term, index in terms.items() if index in TOKEN)
        (table,) = self._walk.weights(self._walk.source(tokens))
        cases = None
        if terms[tokens] == "Mod":
            (of_case,) = (term for term, index in terms.items() if index == "Div")
            (cases,) = self._walk.weights(self._walk.source(of_case))
            del terms[of_case]
        others = [self._rows(term) for term in terms if term != tokens]
        if not others:
            return Embeddings(table, norm, None, cases)
        added: Array = sum(others[1:], others[0])
        return Embeddings(table, norm, added, cases) if len(added) > 1 else Embeddings(table + added, norm, None, cases)

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

    def _looked_up_by(self, name: str) -> str | None:
        """name <- Gather <- table, index; what makes the index of input_ids: nothing (""), Mod or Div; else None"""
        if (index := self._index(name)) is None or index == self._walk.inputs[0]:
            return None if index is None else ""
        node = self._walk.producer(index)
        if node is None or node.op_type not in {"Mod", "Div"} or node.input[0] != self._walk.inputs[0]:
            return None
        return str(node.op_type)

    def _is_embedded(self, name: str) -> bool:
        _, total = self._walk.norm(name)
        return any(self._looked_up_by(term) in TOKEN for term in self._terms(total))

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
