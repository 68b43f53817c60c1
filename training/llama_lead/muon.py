"""Muon (Keller Jordan, 2024) in float32: torch's own computes in bfloat16, which is slow on CPUs without bf16 units."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonal(matrices: Tensor, rounds: int = 5) -> Tensor:
    """Newton-Schulz: (count, rows, columns) to matrices of the same singular vectors and singular values near 1."""
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(rounds):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum whose step is made orthogonal, scaled so that its size is that of an AdamW step (Liu et al., 2025)."""

    def __init__(self, matrices: Iterable[nn.Parameter], momentum: float = 0.95) -> None:
        super().__init__(matrices, {"lr": 1.0, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step; `closure` is not supported."""
        if closure is not None:
            raise ValueError("Muon takes no closure")
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[nn.Parameter]] = {}
            for matrix in group["params"]:
                by_shape.setdefault(matrix.shape, []).append(matrix)
            for shape, matrices in by_shape.items():
                size = group["lr"] * 0.2 * max(shape) ** 0.5
                turned = orthogonal(torch.stack([self._smoothed(matrix, group["momentum"]) for matrix in matrices]))
                for matrix, update in zip(matrices, turned, strict=True):
                    matrix.sub_(update, alpha=size)

    def _smoothed(self, matrix: nn.Parameter, momentum: float) -> Tensor:
        if matrix.grad is None:
            raise ValueError("Muon needs a gradient of every matrix")
        buffer = self.state[matrix].setdefault("momentum", torch.zeros_like(matrix))
        buffer.lerp_(matrix.grad, 1 - momentum)
        return matrix.grad.lerp(buffer, momentum)
