"""What the layers of all encoders have in common: everything but their attention."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np

from functions.extract.graph.parts import Array, Layer, Linear, Norm
from functions.extract.graph.write.builder import CONTRIB, Builder

L = TypeVar("L", bound=Layer)


def in_numpy(layer: Layer, context: Array, x: Array) -> Array:
    """What a layer makes of `context`, which its attention found for `x`: each is [tokens, hidden]."""
    x = layer.attention_norm(layer.output(context) + x)
    up = layer.up(x)
    return layer.norm(layer.down(up * (1 + np.vectorize(math.erf)(up / math.sqrt(2))) / 2) + x)


class EncoderBlock(ABC, Generic[L]):
    """Writes layers, one after the other."""

    def __init__(self, builder: Builder, layers: Sequence[L]) -> None:
        self._builder, self._layers = builder, layers

    def vectors(self, x: str, only: str | None = None) -> str:
        """[batch x tokens, hidden] of the same; of the rows in `only` where it is given, since nobody reads others."""
        *lower, last = self._layers
        for layer in lower:
            x = self._layer(layer, x)
        return self._layer(last, x, only)

    def _layer(self, layer: L, x: str, only: str | None = None) -> str:
        context = self._attention(layer, x)
        if only is not None:
            context, x = (self._builder.add("Gather", rows, only) for rows in (context, x))
        x = self._residual(context, layer.output, x, layer.attention_norm)
        return self._residual(self._builder.gelu(x, layer.up), layer.down, x, layer.norm)

    @abstractmethod
    def _attention(self, layer: L, x: str) -> str:
        """What each token takes from the values of all: [batch x tokens, hidden] of the same."""

    def _residual(self, x: str, linear: Linear, skipped: str, norm: Norm) -> str:
        """The norm of `linear(x) + skipped`."""
        weight, shift, bias = map(self._builder.constant, (norm.weight, norm.bias, linear.bias))
        inputs = (self._builder.product(x, linear.weight), skipped, weight, shift, bias)
        return self._builder.add("SkipLayerNormalization", *inputs, domain=CONTRIB, epsilon=norm.epsilon)
