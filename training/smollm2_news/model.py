"""The model as it is served: its weights out of the GGUF, with low-rank adapters beside its projections.

Source of the architecture: llama.cpp's `llama` (RMS norms, rotary positions over neighbouring pairs, grouped queries,
SwiGLU); LoRA: Hu et al. 2021.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from gguf import GGUFReader, dequantize
from torch import Tensor, nn
from torch.nn.functional import rms_norm, scaled_dot_product_attention, silu

PROJECTIONS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
# Each one costs a few per cent when writing, as every adapter is four more operations; these learn the most of it.
ADAPTED = ("attn_q", "attn_output", "ffn_down")


@dataclass(frozen=True)
class Shape:
    """Of the model; `heads` read, `groups` are read."""

    layers: int
    width: int
    heads: int
    groups: int
    epsilon: float
    rope_base: float


class Projection(nn.Module):
    """A frozen matrix, and beside it the product of two small ones that are learned: [out, rank] x [rank, in]."""

    def __init__(self, weight: Tensor, rank: int, scale: float) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.scale = scale
        self.a = self.b = None
        if rank:
            outputs, inputs = weight.shape
            self.a = nn.Parameter(torch.randn(rank, inputs) / inputs**0.5)
            self.b = nn.Parameter(torch.zeros(outputs, rank))

    def forward(self, x: Tensor) -> Tensor:
        y = x @ self.weight.T
        if self.a is None or self.b is None:
            return y
        return torch.addmm(y, x @ self.a.T, self.b.T, alpha=self.scale)


class Layer(nn.Module):
    def __init__(self, weights: dict[str, Tensor], prefix: str, shape: Shape, rank: int, scale: float) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("attn_norm", weights[f"{prefix}.attn_norm.weight"])
        self.register_buffer("ffn_norm", weights[f"{prefix}.ffn_norm.weight"])
        for name in PROJECTIONS:
            setattr(self, name, Projection(weights[f"{prefix}.{name}.weight"], rank if name in ADAPTED else 0, scale))

    def forward(self, x: Tensor, turn: Tensor) -> Tensor:
        """`x`: [tokens, width]."""
        shape = self.shape
        h = rms_norm(x, (shape.width,), self.attn_norm, shape.epsilon)
        q = _rotated(self.attn_q(h).view(len(x), shape.heads, -1), turn)
        k = _rotated(self.attn_k(h).view(len(x), shape.groups, -1), turn)
        v = self.attn_v(h).view(len(x), shape.groups, -1)
        q, k, v = (part.transpose(0, 1).unsqueeze(0) for part in (q, k, v))
        mixed = scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + self.attn_output(mixed[0].transpose(0, 1).reshape(len(x), -1))
        h = rms_norm(x, (shape.width,), self.ffn_norm, shape.epsilon)
        return x + self.ffn_down(silu(self.ffn_gate(h)) * self.ffn_up(h))


class Llama(nn.Module):
    """Layers from `first` on have adapters."""

    def __init__(self, path: Path, rank: int, alpha: float, first: int = 0) -> None:
        super().__init__()
        reader = GGUFReader(path)
        weights = {t.name: torch.tensor(dequantize(t.data, t.tensor_type)) for t in reader.tensors}
        self.shape = shape = _shape(reader)
        self.rank, self.alpha = rank, alpha
        self.register_buffer("embedding", weights["token_embd.weight"])
        self.register_buffer("head", weights.get("output.weight", weights["token_embd.weight"]))
        self.register_buffer("norm", weights["output_norm.weight"])
        self.layers = nn.ModuleList(
            Layer(weights, f"blk.{k}", shape, rank if k >= first else 0, alpha / max(1, rank))
            for k in range(shape.layers)
        )

    def forward(self, tokens: Tensor, start: int) -> Tensor:
        """The logits behind each token from `start` on: [tokens - start, vocabulary]."""
        width = self.shape.width // self.shape.heads
        turn = _turns(len(tokens), width, self.shape.rope_base)
        x = self.embedding[tokens]
        for layer in self.layers:
            x = layer(x, turn)
        return rms_norm(x[start:], (self.shape.width,), self.norm, self.shape.epsilon) @ self.head.T

    def adapters(self) -> dict[str, nn.Parameter]:
        """What is learned, by the names that a GGUF adapter has."""
        return {
            f"blk.{k}.{name}.weight.lora_{part}": value
            for k, layer in enumerate(self.layers)
            for name in PROJECTIONS
            for part in ("a", "b")
            if (value := getattr(getattr(layer, name), part)) is not None
        }


def _shape(reader: GGUFReader) -> Shape:
    def value(name: str) -> Any:
        return reader.fields[f"llama.{name}"].contents()

    return Shape(
        value("block_count"),
        value("embedding_length"),
        value("attention.head_count"),
        value("attention.head_count_kv"),
        value("attention.layer_norm_rms_epsilon"),
        value("rope.freq_base"),
    )


def _turns(length: int, width: int, base: float) -> Tensor:
    """The rotation of each pair at each position: complex [length, 1, width / 2]."""
    speeds = base ** (-torch.arange(0, width, 2, dtype=torch.float32) / width)
    angles = torch.outer(torch.arange(length, dtype=torch.float32), speeds)
    return torch.polar(torch.ones_like(angles), angles).unsqueeze(1)


def _rotated(x: Tensor, turn: Tensor) -> Tensor:
    """`x`: [tokens, heads, width], turned in neighbouring pairs, as a GGUF's weights want it."""
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turn).flatten(-2)
