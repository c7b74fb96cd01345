"""Worlds of small pictures whose pixels lean on one another in ways that no cosines undo."""

from __future__ import annotations

import torch
from torch import Tensor

from diffcov.basis import Dense
from diffcov.diffusion.schedule import NoiseSchedule
from oracles.diagonal import DiagonalWorld

Shape = tuple[int, int, int]


def correlated(shape: Shape, odd: float = 0.05) -> Tensor:
    """(d, d): correlations fall with the distance of pixels, as in photographs, and four odd directions beside.

    Args:
        shape: (C, H, W).
        odd: variance of the odd directions; 0 leaves what cosines nearly undo.
    """
    channels, height, width = shape
    axes = [torch.arange(n, dtype=torch.float64) for n in (channels, height, width)]
    places = torch.cartesian_prod(*axes)
    smooth = (-torch.cdist(places, places) / 3).exp()
    draw = torch.Generator().manual_seed(0)
    directions = torch.randn(len(places), 4, generator=draw, dtype=torch.float64)
    return 0.3 * smooth + odd * directions @ directions.T + 1e-3 * torch.eye(len(places), dtype=torch.float64)


def world_of(covariance: Tensor, shape: Shape, schedule: NoiseSchedule) -> DiagonalWorld:
    """The world of N(0, covariance), in the covariance's own eigenvectors, largest variance first."""
    variances, vectors = torch.linalg.eigh(covariance)
    return DiagonalWorld(schedule, variances.flip(0).reshape(shape), Dense(vectors.T.flip(0).contiguous(), shape))
