"""The parts of a GLiNER: its weights, and what each of them computes, in numpy."""

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
class Encoder:
    """`position_span` is the number of buckets to either side, `max_position` the distance that fills the last one.

    It is no whole number where an export in 16 bits rounded its logarithm.
    """

    heads: int
    position_span: int
    max_position: float
    layers: list[Layer]


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
    """A span model of the `gliner` package: markerV0 over a DeBERTa v2 or v3 encoder; embeddings [tokens, hidden]."""

    class_token: int
    embeddings: Array
    embeddings_norm: Norm
    encoder: Encoder
    head: SpanHead
