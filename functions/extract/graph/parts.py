"""The parts of a GLiNER: its weights, and what each of them computes, in numpy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Linear:
    """weight [in, out], bias [out]."""

    weight: Array
    bias: Array

    def __call__(self, x: Array) -> Array:
        return x @ self.weight + self.bias


@dataclass(frozen=True)
class Norm:
    """Layer normalisation over the last axis; weight and bias [hidden]."""

    weight: Array
    bias: Array
    epsilon: float

    def __call__(self, x: Array) -> Array:
        centred: Array = x - x.mean(-1, keepdims=True)
        normed: Array = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + self.epsilon)
        return normed * self.weight + self.bias


@dataclass(frozen=True)
class Mlp:
    first: Linear
    second: Linear

    def __call__(self, x: Array) -> Array:
        return self.second(np.maximum(self.first(x), 0))


@dataclass(frozen=True)
class Embeddings:
    """table [tokens, hidden], norm; positions [most tokens of a text, hidden] where a token's place adds to its vector.

    What is added to every token (the row of its type) is part of `positions`, or of `table` where there are none.

    cases [cases, hidden], where every row of `table` stands for a piece in each case: token t is the piece t modulo the
    number of rows, and its case, of which the vector is added, how often that number goes into t.
    """

    table: Array
    norm: Norm
    positions: Array | None = None
    cases: Array | None = None

    @property
    def tokens(self) -> int:
        return len(self.table) * (1 if self.cases is None else len(self.cases))


@dataclass(frozen=True)
class Layer:
    """One layer of an encoder: attention, then a feed-forward block; behind each a residual sum and a norm."""

    query: Linear
    key: Linear
    value: Linear
    output: Linear
    attention_norm: Norm
    up: Linear
    down: Linear
    norm: Norm


@dataclass(frozen=True)
class DebertaLayer(Layer):
    """`position_key` and `position_query` are [2 x span, hidden], already projected."""

    position_key: Array
    position_query: Array


@dataclass(frozen=True)
class Lstm:
    """One bidirectional layer with ONNX's own layout of the weights: [2, 4 x hidden, in], .. and [2, 8 x hidden]."""

    weight: Array
    recurrence: Array
    bias: Array


@dataclass(frozen=True)
class BertEncoder:
    """Its layers know nothing of positions."""

    heads: int
    layers: Sequence[Layer]


@dataclass(frozen=True)
class DebertaEncoder:
    """`position_span` is the number of buckets to either side, `max_position` the distance that fills the last one.

    It is no whole number where an export in 16 bits rounded its logarithm.
    """

    heads: int
    position_span: int
    max_position: float
    layers: Sequence[DebertaLayer]


@dataclass(frozen=True)
class SpanHead:
    """What makes scores of the encoder's vectors; spans have 1 to `max_width` words."""

    projection: Linear | None
    lstm: Lstm
    start: Mlp
    end: Mlp
    span: Mlp
    label: Mlp
    max_width: int


@dataclass(frozen=True)
class Gliner:
    """A span model of the `gliner` package: markerV0 over an encoder as BERT's, or as that of DeBERTa v2 and v3."""

    class_token: int
    embeddings: Embeddings
    encoder: BertEncoder | DebertaEncoder
    head: SpanHead
