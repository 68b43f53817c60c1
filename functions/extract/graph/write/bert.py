"""BERT's layers: attention by content alone.

The exported graph makes a mask of [tokens, tokens] and adds it to the scores of every layer; here one operator does all
between the projections, and masks padded keys.
"""

import math

import numpy as np
from onnx import TensorProto

from functions.extract.graph.parts import Array, BertEncoder, Layer
from functions.extract.graph.write import encoder as encoders
from functions.extract.graph.write.builder import CONTRIB, Builder


def in_numpy(layer: Layer, x: Array, heads: int) -> Array:
    """What a layer computes for one text: [tokens, hidden] of `x`, which is [tokens, hidden]."""
    query, key, value = (
        linear(x).reshape(len(x), heads, -1).transpose(1, 0, 2) for linear in (layer.query, layer.key, layer.value)
    )
    weights = np.exp(query @ key.transpose(0, 2, 1) / math.sqrt(key.shape[2]))
    context = weights / weights.sum(-1, keepdims=True) @ value
    return encoders.in_numpy(layer, context.transpose(1, 0, 2).reshape(x.shape), x)


class BertBlock(encoders.EncoderBlock[Layer]):
    """Its layers share what is known of padding (`attention_mask`)."""

    def __init__(self, builder: Builder, encoder: BertEncoder) -> None:
        super().__init__(builder, encoder.layers)
        self._heads = encoder.heads
        self._key_mask = builder.add("Cast", "attention_mask", to=TensorProto.INT32)

    def _attention(self, layer: Layer, x: str) -> str:
        """Its scale, 1 / sqrt(head size), is the operator's own."""
        add, hidden = self._builder.add, layer.query.weight.shape[1]
        shape = self._builder.shape(self._builder.batch, self._builder.length, hidden)
        projected = [
            add("Reshape", self._builder.linear(x, linear), shape) for linear in (layer.query, layer.key, layer.value)
        ]
        context = add(
            "MultiHeadAttention", *projected, "", self._key_mask, domain=CONTRIB, num_heads=self._heads
        )  # fmt: skip
        return add("Reshape", context, self._builder.constant([-1, hidden]))
