"""The kernel distance (KID) between two sets of vectors: unbiased also for few of them, unlike the Frechet distance."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffcov.errors import UsageError

__all__ = ["kernel_distance", "mean_within"]

BLOCK = 1024
"""Vectors of each set compared at a time: 8 MB of kernel values."""


def kernel_distance(x: Tensor, y: Tensor, within_y: float | None = None) -> float:
    """Squared maximum mean discrepancy under k(a, b) = (a . b / d + 1)^3, by its unbiased estimate.

    mean over i != j of k(x_i, x_j) + the same of y - 2 mean over i, j of k(x_i, y_j). Its expectation is 0 for equal
    distributions, so it may be negative.

    Args:
        x: (n, d), n >= 2.
        y: (m, d), m >= 2.
        within_y: :func:`mean_within` of y where it is known already: half of the work when y is compared often.

    Raises:
        UsageError: fewer than two vectors in a set.

    Source: arXiv 1801.01401, section 4. There the mean over random subsets is reported; all vectors are used here.
    """
    if min(len(x), len(y)) < 2:
        raise UsageError(f"a kernel distance needs at least 2 vectors of each kind, found {len(x)} and {len(y)}")
    cross = math.fsum(_kernel_sum(a, b) for a in torch.split(x, BLOCK) for b in torch.split(y, BLOCK))
    within_y = mean_within(y) if within_y is None else within_y
    return mean_within(x) + within_y - 2 * cross / (len(x) * len(y))


def mean_within(x: Tensor) -> float:
    """Mean of k over the n (n - 1) ordered pairs of different vectors of (n, d), n >= 2."""
    blocks, total = torch.split(x, BLOCK), 0.0
    for i, a in enumerate(blocks):
        itself = a.double().square().sum(1).div(a.shape[1]).add(1).pow(3)
        total += _kernel_sum(a, a) - float(itself.sum())
        total += 2 * math.fsum(_kernel_sum(a, b) for b in blocks[i + 1 :])
    return total / (len(x) * (len(x) - 1))


def _kernel_sum(a: Tensor, b: Tensor) -> float:
    """Sum of k over all pairs of (n, d) and (m, d), in float64."""
    root = torch.addmm(torch.ones((), dtype=torch.float64), a.double(), b.double().T, alpha=1 / a.shape[1])
    return float(torch.dot(root.square().flatten(), root.flatten()))
