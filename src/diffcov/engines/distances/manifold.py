"""Improved precision and recall: how many samples look like data, and how much of the data is covered.

Around every vector of a set lies a ball that reaches to its k-th nearest neighbour in the set; the union of the balls
stands for where the set lives. Source: arXiv 1904.06991, section 2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from diffcov.errors import UsageError

__all__ = ["LEAST", "precision_recall"]

NEIGHBOURS = 3
LEAST = NEIGHBOURS + 1
"""Vectors of each kind that precision and recall need."""

BLOCK_PAIRS = 2**22
"""Distances held at a time: 32 MB."""

ROUNDING = 1e-12
"""What |a|^2 + |b|^2 - 2 a.b may be off by, relative to |a|^2 + |b|^2; so near the edge of a ball counts as inside.

Equal vectors need it: their distance is 0, and so is the radius of a ball among k copies.
"""


def precision_recall(samples: Tensor, data: Tensor, k: int = NEIGHBOURS) -> tuple[float, float]:
    """(share of samples within the data's balls, share of data within the samples' balls), both in [0, 1].

    The two depend on the sizes of the sets; compare only figures of equal sizes.

    Args:
        samples: (n, d).
        data: (m, d).
        k: which neighbour a ball reaches to, not counting the vector itself.

    Raises:
        UsageError: not more than k vectors in a set.
    """
    if min(len(samples), len(data)) <= k:
        raise UsageError(
            f"precision and recall look at {k} neighbours and need at least {k + 1} vectors of each kind, "
            f"found {len(samples)} samples and {len(data)} of the data"
        )
    # Distances are the same from any origin, and rounding is smallest from the middle.
    origin = data.double().mean(0)
    samples, data = samples.double() - origin, data.double() - origin
    sample_balls, data_balls = _squared_radii(samples, k), _squared_radii(data, k)
    rows = _rows(len(data))
    precise, recalled = 0, torch.zeros(len(data), dtype=torch.bool)
    for start in range(0, len(samples), rows):
        block = slice(start, start + rows)
        distances = _squared_distances(samples[block], data, shrink=ROUNDING)
        precise += int((distances <= data_balls).any(1).sum())
        recalled |= (distances <= sample_balls[block, None]).any(0)
    return precise / len(samples), int(recalled.sum()) / len(data)


def _squared_radii(x: Tensor, k: int) -> Tensor:
    """(n, d) -> (n,): squared distance of each vector to its k-th nearest other one."""
    rows, radii = _rows(len(x)), []
    for start in range(0, len(x), rows):
        block = x[start : start + rows]
        distances = _squared_distances(block, x)
        distances[torch.arange(len(block)), torch.arange(start, start + len(block))] = torch.inf
        radii.append(distances.topk(k, dim=1, largest=False).values[:, -1])
    return torch.cat(radii)


def _squared_distances(a: Tensor, b: Tensor, shrink: float = 0.0) -> Tensor:
    """(n, d), (m, d) -> (n, m), each less by ``shrink`` times its |a|^2 + |b|^2, at least 0."""
    norms = (1 - shrink) * a.square().sum(1)[:, None] + (1 - shrink) * b.square().sum(1)
    return norms.addmm_(a, b.T, alpha=-2).clamp_(min=0)


def _rows(columns: int) -> int:
    return max(1, BLOCK_PAIRS // columns)
