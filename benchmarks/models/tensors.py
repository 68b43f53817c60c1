"""The tensors that llama.cpp stores of a model as Q4_K_M.

Names and dimensions are those of its loader (src/models), types those of its quantisation (src/llama-quant.cpp).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.models.shapes import CONVOLUTION_WIDTH, Shape

# Weights and bytes of one block (ggml-common.h), and what quantisation takes for a row that is no multiple of 256.
BLOCKS = {"Q4_K": (256, 144), "Q6_K": (256, 210), "Q5_0": (32, 22), "Q8_0": (32, 34), "F32": (1, 4)}
FALLBACKS = {"Q4_K": "Q5_0", "Q6_K": "Q8_0"}

# All found by trial, with `check.py`; see `llama.py` for what they are for.
QUERY_KEY_LENGTH = 2.0
LOGIT_DEVIATION = 0.5
FIRST_ATTENTION_LENGTH = 0.003
FIRST_FEED_FORWARD_LENGTH = 8.0


@dataclass(frozen=True)
class Tensor:
    """`columns` 0: a vector of `rows`, each `length`. Of a matrix `length` is what each output is multiplied with,
    1 keeps the length of the input."""

    name: str
    rows: int
    columns: int = 0
    kind: str = "F32"
    length: float = 1.0

    @property
    def weights(self) -> int:
        return self.rows * (self.columns or 1)

    @property
    def row_bytes(self) -> int:
        block, size = BLOCKS[self.kind]
        return (self.columns or 1) // block * size


def vectors(shape: Shape) -> Iterator[Tensor]:
    """All that is not quantised, of ones where nothing else is said."""
    final = "token_embd_norm" if shape.architecture == "lfm2" else "output_norm"
    yield Tensor(f"{final}.weight", shape.width)
    if shape.architecture == "phi3":
        for reach in ("long", "short"):
            yield Tensor(f"rope_factors_{reach}.weight", (shape.rope_width or shape.head_width) // 2)
    attends = set(shape.attention_layers)
    for layer in range(shape.layers):
        yield Tensor(f"blk.{layer}.attn_norm.weight", shape.width)
        yield Tensor(f"blk.{layer}.ffn_norm.weight", shape.width)
        if layer not in attends:
            yield Tensor(f"blk.{layer}.shortconv.conv.weight", shape.width, CONVOLUTION_WIDTH)
        elif shape.architecture in ("qwen3", "gemma3", "lfm2"):
            for name in ("q", "k"):
                yield Tensor(f"blk.{layer}.attn_{name}_norm.weight", shape.head_width, length=QUERY_KEY_LENGTH)
        if shape.architecture == "gemma3":
            attention, feed_forward = _lengths(layer)
            yield Tensor(f"blk.{layer}.post_attention_norm.weight", shape.width, length=attention)
            yield Tensor(f"blk.{layer}.post_ffw_norm.weight", shape.width, length=feed_forward)


def matrices(shape: Shape) -> Iterator[Tensor]:
    """All that is quantised, with the type that llama.cpp's `llama_tensor_get_type` gives it for Q4_K_M."""
    kind = "Q6_K" if shape.tied else "Q4_K"
    yield _matrix("token_embd", shape.vocabulary, shape.width, kind, LOGIT_DEVIATION)
    if not shape.tied:
        yield _matrix("output", shape.vocabulary, shape.width, "Q6_K", LOGIT_DEVIATION)
    attends = {layer: number for number, layer in enumerate(shape.attention_layers)}
    for layer in range(shape.layers):
        if layer in attends:
            values = "Q6_K" if _has_more_bits(attends[layer], len(attends)) else "Q4_K"
            yield from _attention(shape, layer, values)
        else:
            yield _matrix(f"blk.{layer}.shortconv.in_proj", 3 * shape.width, shape.width, "Q4_K")
            yield _matrix(f"blk.{layer}.shortconv.out_proj", shape.width, shape.width, "Q4_K")
        yield from _feed_forward(shape, layer)


def _attention(shape: Shape, layer: int, values: str) -> Iterator[Tensor]:
    prefix, width = f"blk.{layer}.attn_", shape.width
    queries, keys = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    if shape.architecture == "phi3":
        yield _matrix(f"{prefix}qkv", queries + 2 * keys, width, values, QUERY_KEY_LENGTH)
    else:
        yield _matrix(f"{prefix}q", queries, width, "Q4_K", QUERY_KEY_LENGTH)
        yield _matrix(f"{prefix}k", keys, width, "Q4_K", QUERY_KEY_LENGTH)
        yield _matrix(f"{prefix}v", keys, width, values)
    yield _matrix(f"{prefix}output", width, queries, "Q4_K", _lengths(layer)[0])


def _feed_forward(shape: Shape, layer: int) -> Iterator[Tensor]:
    prefix, width, wide = f"blk.{layer}.ffn_", shape.width, shape.feed_forward
    if shape.architecture == "phi3":
        yield _matrix(f"{prefix}up", 2 * wide, width, "Q4_K")
    else:
        yield _matrix(f"{prefix}gate", wide, width, "Q4_K")
        yield _matrix(f"{prefix}up", wide, width, "Q4_K")
    down = "Q6_K" if _has_more_bits(layer, shape.layers) else "Q4_K"
    yield _matrix(f"{prefix}down", width, wide, down, _lengths(layer)[1])


def _lengths(layer: int) -> tuple[float, float]:
    """Of what attention and feed-forward part of a layer add to the state."""
    return (1.0, 1.0) if layer else (FIRST_ATTENTION_LENGTH, FIRST_FEED_FORWARD_LENGTH)


def _matrix(name: str, rows: int, columns: int, kind: str, length: float = 1.0) -> Tensor:
    fits = columns % BLOCKS[kind][0] == 0
    return Tensor(f"{name}.weight", rows, columns, kind if fits else FALLBACKS[kind], length)


def _has_more_bits(number: int, count: int) -> bool:
    """`use_more_bits` of llama.cpp's quantisation."""
    return number < count // 8 or number >= 7 * count // 8 or (number - count // 8) % 3 == 2
