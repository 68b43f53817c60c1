"""The block that makes vectors of tokens."""

import numpy as np
from onnx import TensorProto

from common.settings import Precision
from functions.extract.graph.parts import Array, Norm
from functions.extract.graph.write.builder import Builder


def in_numpy(table: Array, norm: Norm, tokens: Array) -> Array:
    """What the block computes: [.., hidden] of [..]."""
    return norm(table[tokens])


def embeddings(builder: Builder, table: Array, norm: Norm, precision: Precision) -> str:
    """[batch x tokens, hidden] of `input_ids`.

    The table is stored as it is, or in 16 bits, or (int8) in 8 bits with a scale for each token.
    """
    tokens = builder.add("Reshape", "input_ids", builder.constant([-1]))
    if precision == "int8":
        scale = np.maximum(np.abs(table).max(1, keepdims=True) / 127, np.finfo(np.float32).tiny).astype(np.float32)
        rows = builder.add("Gather", builder.constant(np.round(table / scale).astype(np.int8)), tokens)
        scales = builder.add("Gather", builder.constant(scale), tokens)
        x = builder.add("Mul", builder.add("Cast", rows, to=TensorProto.FLOAT), scales)
    elif precision == "fp32-half-embeddings":
        rows = builder.add("Gather", builder.constant(table.astype(np.float16)), tokens)
        x = builder.add("Cast", rows, to=TensorProto.FLOAT)
    else:
        x = builder.add("Gather", builder.constant(table), tokens)
    weight, bias = builder.constant(norm.weight), builder.constant(norm.bias)
    return builder.add("LayerNormalization", x, weight, bias, epsilon=norm.epsilon)
