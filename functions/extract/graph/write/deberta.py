"""DeBERTa's layers, with disentangled attention.

The exported graph projects the tables of relative positions at every call, looks up distances that a text of this
length does not have, scales, and expands indices for every head. Here the tables are projected already, only the rows
in use are kept, and the scale is part of the weights.
"""

import math

import numpy as np
from onnx import TensorProto

from functions.extract.graph.parts import Array, DebertaEncoder, DebertaLayer, Linear
from functions.extract.graph.write import encoder as encoders
from functions.extract.graph.write.builder import CONTRIB, Builder


def in_numpy(layer: DebertaLayer, x: Array, heads: int, rows: Array) -> Array:
    """What a layer computes for one text: [tokens, hidden] of `x`, which is [tokens, hidden].

    rows [tokens, tokens]: the row of both position tables for each token that looks and each that is looked at.
    """
    query, key, value, keys, queries = (
        rows_of.reshape(len(rows_of), heads, -1).transpose(1, 0, 2)
        for rows_of in (layer.query(x), layer.key(x), layer.value(x), layer.position_key, layer.position_query)
    )
    looks, is_looked_at = np.indices(rows.shape)
    scores = query @ key.transpose(0, 2, 1)
    scores += (query @ keys.transpose(0, 2, 1))[:, looks, rows]
    scores += (queries @ key.transpose(0, 2, 1))[:, rows, is_looked_at]
    weights = np.exp(scores / math.sqrt(3 * key.shape[2]))
    context = weights / weights.sum(-1, keepdims=True) @ value
    return encoders.in_numpy(layer, context.transpose(1, 0, 2).reshape(x.shape), x)


def position_rows(distance: Array, span: int, max_position: float) -> Array:
    """The row of a position table, [2 x span, hidden], for a distance between two tokens."""
    rows: Array = np.clip(buckets(distance, span, max_position) + span, 0, 2 * span - 1)
    return rows


def buckets(distance: Array, span: int, max_position: float) -> Array:
    """DeBERTa's buckets of relative positions: exact up to half of `span`, logarithmic beyond it."""
    middle = span // 2
    magnitude = np.maximum(np.abs(distance), middle).astype(np.float32)
    steps = np.log(magnitude / np.float32(middle)) / np.float32(np.log((max_position - 1) / middle)) * (middle - 1)
    far = (np.ceil(steps) + middle) * np.sign(distance)
    return np.where(np.abs(distance) <= middle, distance, far).astype(np.int64)


class DebertaBlock(encoders.EncoderBlock[DebertaLayer]):
    """Its layers share what is known of positions and of padding (`attention_mask`)."""

    def __init__(self, builder: Builder, encoder: DebertaEncoder) -> None:
        super().__init__(builder, encoder.layers)
        self._heads = encoder.heads
        self._key_mask = builder.add("Cast", "attention_mask", to=TensorProto.INT32)
        self._positions(encoder.position_span, encoder.max_position)

    def _positions(self, span: int, max_position: float) -> None:
        """For every query and key the row of a layer's position tables, of which only the rows in use are kept."""
        add, constant, length = self._builder.add, self._builder.constant, self._builder.length
        limit = math.ceil(max_position)
        table, at_zero = constant(position_rows(np.arange(-limit, limit + 1), span, max_position)), constant([limit])
        farthest = add("Min", add("Sub", length, constant([1])), at_zero)
        self._lowest = add("Gather", table, add("Sub", at_zero, farthest))
        highest = add("Gather", table, add("Add", at_zero, farthest))
        self._behind_highest = add("Add", highest, constant([1]))
        steps = self._builder.range(length)
        distance = add("Sub", self._builder.unsqueeze(steps, 1), self._builder.unsqueeze(steps, 0))
        distance = add("Clip", distance, self._builder.scalar(-limit), self._builder.scalar(limit))
        row = add("Sub", add("Gather", table, add("Add", distance, at_zero)), self._lowest)
        shape = self._builder.shape(self._builder.batch, self._heads, length, length)
        self._rows = add("Expand", add("Cast", row, to=TensorProto.INT32), shape)

    def _attention(self, layer: DebertaLayer, x: str) -> str:
        """DeBERTa's three products: content with content, content with position, position with content."""
        add, shape = self._builder.add, self._builder.shape
        batch, length = self._builder.batch, self._builder.length
        hidden = layer.query.weight.shape[1]
        head = hidden // self._heads
        scale = np.float32(1 / np.sqrt(3 * head))
        weight = np.concatenate([layer.query.weight * scale, layer.key.weight, layer.value.weight], 1)
        bias = np.concatenate([layer.query.bias * scale, layer.key.bias, layer.value.bias])
        joined = self._builder.linear(x, Linear(weight, bias))
        joined = add("Reshape", joined, shape(batch, length, 3, self._heads, head))
        by_head = add("Transpose", joined, perm=[2, 0, 3, 1, 4])
        query, key, value = (add("Gather", by_head, self._builder.scalar(index), axis=0) for index in range(3))
        keys, queries = self._position_table(layer.position_key), self._position_table(layer.position_query * scale)
        looks = add("FusedMatMul", query, keys, domain=CONTRIB, transB=1)
        looked_at = add("FusedMatMul", queries, key, domain=CONTRIB, transB=1)
        looks = add("GatherElements", looks, self._rows, axis=3)
        position = add("Add", looks, add("GatherElements", looked_at, self._rows, axis=2))
        queries = add("Reshape", add("Transpose", query, perm=[0, 2, 1, 3]), shape(batch, length, hidden))
        context = add(
            "MultiHeadAttention", queries, key, value, "", self._key_mask, position,
            domain=CONTRIB, num_heads=self._heads, scale=1.0,
        )  # fmt: skip
        return add("Reshape", context, self._builder.constant([-1, hidden]))

    def _position_table(self, table: Array) -> str:
        """[heads, rows in use, head size]."""
        by_head = self._builder.constant(table.reshape(len(table), self._heads, -1).transpose(1, 0, 2))
        first, stop, axis = self._lowest, self._behind_highest, self._builder.constant([1])
        return self._builder.add("Slice", by_head, first, stop, axis)
