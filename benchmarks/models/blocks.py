"""Quantised blocks of random weights (https://github.com/ggml-org/llama.cpp, ggml/src/ggml-common.h)."""

import numpy as np
from numpy.typing import NDArray

from benchmarks.models.tensors import BLOCKS, Tensor

SPACE = "Ġ"
FULL_STOP = "."
# Found by trial, with `check.py`.
FULL_STOP_LENGTH = 2.2
CHUNK_BLOCKS = 1 << 17

Bytes = NDArray[np.uint8]

# Where the scale of a whole block is: as long as it is zero, the block is, whatever its levels are.
_SCALES = {"Q4_K": slice(0, 2), "Q6_K": slice(208, 210), "Q5_0": slice(0, 2), "Q8_0": slice(0, 2)}
_LEVELS = {"Q4_K": 16, "Q6_K": 64, "Q5_0": 32, "Q8_0": 256}


def random_rows(matrix: Tensor, random: np.random.Generator) -> Bytes:
    """Rows of quantised blocks with random weights of (about) mean zero and one standard deviation."""
    block_size, block_bytes = BLOCKS[matrix.kind]
    blocks = np.empty((matrix.weights // block_size, block_bytes), dtype=np.uint8)
    for start in range(0, len(blocks), CHUNK_BLOCKS):
        chunk = blocks[start : start + CHUNK_BLOCKS]
        chunk[:] = np.frombuffer(random.bytes(chunk.size), dtype=np.uint8).reshape(chunk.shape)
    levels = _LEVELS[matrix.kind]
    scale = matrix.length / np.sqrt(matrix.columns) / np.sqrt((levels**2 - 1) / 12)
    if matrix.kind == "Q4_K":
        # The scale and the offset of each sub-block are 32, six bits packed over three bytes.
        scale /= 32
        blocks[:, 2:4] = _half(scale * (levels - 1) / 2)
        blocks[:, 4:12] = 0b10_100000
        blocks[:, 12:16] = 0
    elif matrix.kind == "Q6_K":
        # The scale of each of the 16 sub-blocks is 8.
        scale /= 8
        blocks[:, 192:208] = 8
    blocks[:, _SCALES[matrix.kind]] = _half(scale)
    return blocks.reshape(matrix.rows, -1)


def shape_output(rows: Bytes, kind: str, tokens: list[str]) -> None:
    """Zero the rows of what shall not be generated, and lengthen the full stop's (both in place)."""
    keep = np.array([token == FULL_STOP or _is_plain(token) for token in tokens])
    scales = rows.reshape(len(rows), -1, BLOCKS[kind][1])[:, :, _SCALES[kind]]
    scales[~keep] = 0
    stop = tokens.index(FULL_STOP)
    scales[stop] = _half(float(np.frombuffer(scales[stop, 0].tobytes(), np.float16)[0]) * FULL_STOP_LENGTH)


def _is_plain(token: str) -> bool:
    return len(token) > 2 and token[0] == SPACE and token[1:].isascii() and token[1:].isalpha()


def _half(number: float) -> Bytes:
    return np.frombuffer(np.float16(number).tobytes(), dtype=np.uint8)
