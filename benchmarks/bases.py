"""Orthonormal bases that were tried beside the cosines: local ones."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffcov.basis import Separable, cosine, dct_matrix

__all__ = ["block_cosine", "haar"]


def haar(channels: int, height: int, width: int) -> Separable:
    """Haar wavelets along rows and columns, and the colour rotation of the cosines."""
    return Separable(cosine(channels, 1, 1).colour, haar_matrix(height), haar_matrix(width))


def haar_matrix(n: int) -> Tensor:
    """(n, n) float64, orthonormal rows: averages of neighbours, recursively, then their differences.

    An odd length passes its last value on to the next level untouched.
    """
    if n == 1:
        return torch.ones(1, 1, dtype=torch.float64)
    half = n // 2
    low, high = torch.zeros(n - half, n, dtype=torch.float64), torch.zeros(half, n, dtype=torch.float64)
    for k in range(half):
        low[k, 2 * k : 2 * k + 2] = math.sqrt(0.5)
        high[k, 2 * k], high[k, 2 * k + 1] = math.sqrt(0.5), -math.sqrt(0.5)
    if n % 2:
        low[-1, -1] = 1
    return torch.cat([haar_matrix(n - half) @ low, high])


def block_cosine(channels: int, height: int, width: int, blocks: int) -> Separable:
    """Cosines within each of ``blocks`` x ``blocks`` blocks, as JPEG has them."""

    def repeated(n: int) -> Tensor:
        return torch.block_diag(*[dct_matrix(n // blocks)] * blocks)

    return Separable(cosine(channels, 1, 1).colour, repeated(height), repeated(width))
