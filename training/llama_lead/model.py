"""A Llama in plain torch, with RoPE on interleaved pairs: what ggml's NORM rope computes for `llama` files."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    """Sizes of the network; `context` is the longest sequence in tokens."""

    vocabulary: int = 2048
    width: int = 192
    layers: int = 4
    heads: int = 4
    feed_forward: int = 512
    context: int = 2048
    rope_base: float = 10000.0
    norm_eps: float = 1e-5

    @property
    def head_width(self) -> int:
        return self.width // self.heads


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (0, 1), (2, 3), ... of the last axis; `cos` and `sin` broadcast to half of that axis."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


class Block(nn.Module):
    """One layer: attention and SwiGLU, each behind an RMS norm."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width, wide = shape.width, shape.feed_forward
        self.shape = shape
        self.attn_norm, self.ffn_norm = nn.Parameter(torch.ones(width)), nn.Parameter(torch.ones(width))
        self.attn_q, self.attn_k = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.attn_v, self.attn_output = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.ffn_gate, self.ffn_up = nn.Linear(width, wide, bias=False), nn.Linear(width, wide, bias=False)
        self.ffn_down = nn.Linear(wide, width, bias=False)
        for residual in (self.attn_output, self.ffn_down):
            nn.init.normal_(residual.weight, std=0.02 / (2 * shape.layers) ** 0.5)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, rows: Tensor | None = None) -> Tensor:
        """`x` (batch, tokens, width) to the same shape, or to (batch, rows, width) for the positions `rows`."""
        normed = F.rms_norm(x, (self.shape.width,), self.attn_norm, self.shape.norm_eps)
        key = rotate(self._split(self.attn_k(normed)), cos, sin)
        value = self._split(self.attn_v(normed))
        if rows is None:
            query = rotate(self._split(self.attn_q(normed)), cos, sin)
            mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        else:
            pick = rows[..., None].expand(-1, -1, self.shape.width)
            x = x.gather(1, pick)
            query = rotate(self._split(self.attn_q(normed.gather(1, pick))), cos[rows][:, None], sin[rows][:, None])
            seen = torch.arange(key.shape[2])[None, None, None] <= rows[:, None, :, None]
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        x = x + self.attn_output(mixed.transpose(1, 2).flatten(2))
        normed = F.rms_norm(x, (self.shape.width,), self.ffn_norm, self.shape.norm_eps)
        return x + self.ffn_down(F.silu(self.ffn_gate(normed)) * self.ffn_up(normed))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.shape.heads, self.shape.head_width)).transpose(1, 2)


class Llama(nn.Module):
    """Token ids to logits, with the embedding tied to the output."""

    cos: Tensor
    sin: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocabulary, shape.width)
        nn.init.normal_(self.token_embd.weight, std=0.05)
        self.blk = nn.ModuleList([Block(shape) for _ in range(shape.layers)])
        self.output_norm = nn.Parameter(torch.ones(shape.width))
        frequency = shape.rope_base ** (-torch.arange(0, shape.head_width, 2) / shape.head_width)
        angle = torch.arange(shape.context)[:, None] * frequency[None]
        self._start_with_shifts(frequency)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    @torch.no_grad()
    def _start_with_shifts(self, frequency: Tensor, strength: float = 0.8) -> None:
        """Start the first layer with heads that attend 1, 2, 3 tokens back: half of what copying by induction needs.

        All embeddings share a constant in their last number. Such a head's key is that constant on the fast RoPE pairs,
        and its query is the same turned back by the shift. All of it goes on to be trained.
        """
        self.token_embd.weight[:, -1] = 0.4
        first, width = self.blk[0], self.shape.head_width
        fast = torch.arange(frequency.numel()) < frequency.numel() // 2
        for head in range(self.shape.heads - 1):
            rows = slice(head * width, (head + 1) * width)
            turn = frequency * (head + 1)
            query = torch.stack((turn.cos(), -turn.sin()), -1) * fast[:, None] * strength
            key = torch.stack((fast.float(), torch.zeros_like(turn)), -1) * strength
            for projection, start in ((first.attn_q, query), (first.attn_k, key)):
                projection.weight[rows] = 0
                projection.weight[rows, -1] = start.flatten()
        nn.init.normal_(first.attn_output.weight, std=0.02)

    def forward(self, ids: Tensor, rows: Tensor) -> Tensor:
        """`ids` (batch, tokens) and the positions `rows` (batch, rows) to logits (batch, rows, vocabulary)."""
        cos, sin = self.cos[: ids.shape[1]], self.sin[: ids.shape[1]]
        x = self.token_embd(ids)
        for block in self.blk[:-1]:
            x = block(x, cos, sin)
        x = self.blk[-1](x, cos, sin, rows)  # the last layer is only needed where a loss is taken
        x = F.rms_norm(x, (self.shape.width,), self.output_norm, self.shape.norm_eps)
        return x @ self.token_embd.weight.T


def save(path: Path, model: Llama) -> None:
    """Write weights and shape, replacing the file in one step."""
    partial = path.with_suffix(".partial")
    torch.save({"shape": asdict(model.shape), "weights": model.state_dict()}, partial)
    partial.replace(path)


def load(path: Path) -> Llama:
    """The model that `save` wrote."""
    saved = torch.load(path, weights_only=True)
    model = Llama(Shape(**saved["shape"]))
    model.load_state_dict(saved["weights"])
    return model
