"""The block that makes vectors of tokens."""

import numpy as np
from onnx import TensorProto

from common.settings import Precision
from functions.extract.graph.parts import Array, Embeddings
from functions.extract.graph.write.builder import CONTRIB, Builder


def in_numpy(parts: Embeddings, tokens: Array) -> Array:
    """What the block computes: [batch, tokens, hidden] of [batch, tokens]."""
    vectors = parts.table[tokens % len(parts.table)]
    if parts.cases is not None:
        vectors = vectors + parts.cases[tokens // len(parts.table)]
    return parts.norm(vectors if parts.positions is None else vectors + parts.positions[: tokens.shape[1]])


def embeddings(builder: Builder, parts: Embeddings, precision: Precision) -> str:
    """[batch x tokens, hidden] of `input_ids`; positions are counted from the left.

    The table is stored as it is, or in 16 bits, or (int8) in 8 bits with a scale for each token.
    """
    tokens = builder.add("Reshape", "input_ids", builder.constant([-1]))
    if parts.cases is None:
        x = _rows(builder, parts.table, tokens, precision)
    else:
        size = builder.scalar(len(parts.table))
        cases = builder.add("Gather", builder.constant(parts.cases), builder.add("Div", tokens, size))
        x = builder.add("Add", _rows(builder, parts.table, builder.add("Mod", tokens, size), precision), cases)
    norm = builder.constant(parts.norm.weight), builder.constant(parts.norm.bias)
    if parts.positions is None:
        return builder.add("LayerNormalization", x, *norm, epsilon=parts.norm.epsilon)
    hidden = parts.table.shape[1]
    zero = builder.constant([0])
    positions = builder.add("Slice", builder.constant(parts.positions), zero, builder.length, zero)
    by_text = builder.add("Reshape", x, builder.shape(builder.batch, builder.length, hidden))
    x = builder.add("SkipLayerNormalization", by_text, positions, *norm, domain=CONTRIB, epsilon=parts.norm.epsilon)
    return builder.add("Reshape", x, builder.constant([-1, hidden]))


def _rows(builder: Builder, table: Array, tokens: str, precision: Precision) -> str:
    if precision == "int8":
        scale = np.maximum(np.abs(table).max(1, keepdims=True) / 127, np.finfo(np.float32).tiny).astype(np.float32)
        rows = builder.add("Gather", builder.constant(np.round(table / scale).astype(np.int8)), tokens)
        scales = builder.add("Gather", builder.constant(scale), tokens)
        return builder.add("Mul", builder.add("Cast", rows, to=TensorProto.FLOAT), scales)
    if precision == "fp32-half-embeddings":
        rows = builder.add("Gather", builder.constant(table.astype(np.float16)), tokens)
        return builder.add("Cast", rows, to=TensorProto.FLOAT)
    return builder.add("Gather", builder.constant(table), tokens)
