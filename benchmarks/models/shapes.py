"""The shapes of published models.

The figures are those of each model's `config.json` on the hub.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

# Of LFM2's short convolutions, tokens.
CONVOLUTION_WIDTH = 3

Value = int | float | str | list[int]


@dataclass(frozen=True)
class Shape:
    """One model. `chat` is the family of its chat template; `head` the width of a head where it is not width / heads.

    `attention` are the layers that have it, None: all; the others are short convolutions. `values` are what only this
    architecture's header has. `preset` is the service's name for the model where it is not the shape's.
    """

    architecture: str
    chat: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    feed_forward: int
    vocabulary: int
    context: int
    head: int | None = None
    rope_base: float = 10_000.0
    rope_width: int | None = None
    epsilon: float = 1e-5
    tied: bool = True
    attention: tuple[int, ...] | None = None
    values: Mapping[str, Value] = field(default_factory=dict)
    preset: str | None = None

    @property
    def head_width(self) -> int:
        return self.head or self.width // self.heads

    @property
    def attention_layers(self) -> tuple[int, ...]:
        return tuple(range(self.layers)) if self.attention is None else self.attention


def _llama3(
    layers: int, width: int, heads: int, feed_forward: int, preset: str | None, *, context: int = 131_072
) -> Shape:
    return Shape(
        "llama",
        "llama-3",
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=8,
        feed_forward=feed_forward,
        vocabulary=128_256,
        context=context,
        rope_base=5e5,
        preset=preset,
    )


def _smollm2(layers: int, width: int, heads: int, kv_heads: int, feed_forward: int, rope_base: float) -> Shape:
    return Shape(
        "llama",
        "chatml",
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        feed_forward=feed_forward,
        vocabulary=49_152,
        context=8192,
        rope_base=rope_base,
    )


def _lfm2(width: int, heads: int, feed_forward: int) -> Shape:
    return Shape(
        "lfm2",
        "lfm2",
        layers=16,
        width=width,
        heads=heads,
        kv_heads=8,
        feed_forward=feed_forward,
        vocabulary=65_536,
        context=128_000,
        rope_base=1e6,
        attention=(2, 5, 8, 10, 12, 14),
        values={"shortconv.l_cache": CONVOLUTION_WIDTH},
    )


def _qwen3(layers: int, width: int, heads: int, feed_forward: int) -> Shape:
    return Shape(
        "qwen3",
        "qwen3",
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=8,
        head=128,
        feed_forward=feed_forward,
        vocabulary=151_936,
        context=40_960,
        rope_base=1e6,
        epsilon=1e-6,
    )


def _gemma3(
    layers: int,
    width: int,
    heads: int,
    kv_heads: int,
    feed_forward: int,
    context: int,
    vocabulary: int,
    window: int,
) -> Shape:
    return Shape(
        "gemma3",
        "gemma",
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head=256,
        feed_forward=feed_forward,
        vocabulary=vocabulary,
        context=context,
        rope_base=1e6,
        epsilon=1e-6,
        values={"attention.sliding_window": window},
    )


def _granite(width: int, heads: int, vocabulary: int, logit_scale: float) -> Shape:
    scales = {"embedding_scale": 12.0, "residual_scale": 0.22, "logit_scale": logit_scale, "attention.scale": 0.015625}
    return Shape(
        "granite",
        "granite",
        layers=40,
        width=width,
        heads=heads,
        kv_heads=8,
        feed_forward=8192,
        vocabulary=vocabulary,
        context=131_072,
        rope_base=1e7,
        values=scales,
    )


def _phi(heads: int, kv_heads: int, vocabulary: int, tied: bool) -> Shape:
    return Shape(
        "phi3",
        "phi",
        layers=32,
        width=3072,
        heads=heads,
        kv_heads=kv_heads,
        feed_forward=8192,
        vocabulary=vocabulary,
        context=131_072,
        rope_width=96,
        tied=tied,
        values={"rope.scaling.original_context_length": 4096},
    )


SHAPES = {
    # For trying the scripts out: no model of this shape exists.
    "llama-tiny": _llama3(2, 256, 8, 1024, None),
    "smollm2-135m": _smollm2(30, 576, 9, 3, 1536, 1e5),
    "smollm2-360m": _smollm2(32, 960, 15, 5, 2560, 1e5),
    "smollm2-1.7b": _smollm2(24, 2048, 32, 32, 8192, 1.3e5),
    "lfm2-350m": _lfm2(1024, 16, 4608),
    "lfm2-700m": _lfm2(1536, 24, 6912),
    "lfm2-1.2b": _lfm2(2048, 32, 8192),
    "qwen3-0.6b": _qwen3(28, 1024, 16, 3072),
    "qwen3-1.7b": _qwen3(28, 2048, 16, 6144),
    "qwen3-4b": _qwen3(36, 2560, 32, 9728),
    "gemma-3-1b": _gemma3(26, 1152, 4, 1, 6912, 32_768, 262_144, 512),
    # The part that reads text.
    "gemma-3-4b": _gemma3(34, 2560, 8, 4, 10_240, 131_072, 262_208, 1024),
    "llama-1b": _llama3(16, 2048, 32, 8192, "llama-3.2-1b"),
    "llama-3b": _llama3(28, 3072, 24, 8192, "llama-3.2-3b"),
    "granite-3.3-2b": _granite(2048, 32, 49_159, logit_scale=8.0),
    "granite-4-micro": _granite(2560, 40, 100_352, logit_scale=10.0),
    "phi-3.5-mini": _phi(32, 32, 32_064, tied=False),
    "phi-4-mini": _phi(24, 8, 200_064, tied=True),
    "mistral-7b": Shape(
        "llama",
        "mistral",
        layers=32,
        width=4096,
        heads=32,
        kv_heads=8,
        feed_forward=14_336,
        vocabulary=32_768,
        context=32_768,
        rope_base=1e6,
        tied=False,
    ),
    "llama-8b": replace(_llama3(32, 4096, 32, 14_336, "llama-3-8b", context=8192), tied=False),
}
