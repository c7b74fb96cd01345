"""The Frechet distance between two sets of vectors, each described by its mean and covariance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffcov.errors import InputError

__all__ = ["Gaussian", "frechet_distance"]


@dataclass(frozen=True)
class Gaussian:
    """Mean (d,) and covariance (d, d), float64."""

    mean: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, vectors: Tensor) -> Gaussian:
        """Mean and unbiased covariance of (N, d) vectors, N >= 2.

        Raises:
            InputError: fewer than two vectors.
        """
        if vectors.shape[0] < 2:
            raise InputError(f"a covariance needs at least 2 vectors, found {vectors.shape[0]}")
        vectors = vectors.double()
        mean = vectors.mean(0)
        centred = vectors - mean
        return cls(mean, centred.T @ centred / (vectors.shape[0] - 1))


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """||mu_a - mu_b||^2 + tr(S_a + S_b - 2 (S_a^1/2 S_b S_a^1/2)^1/2) >= 0, in squared units of the vectors.

    The symmetric form of the last term has real, non-negative eigenvalues, so singular covariances (fewer vectors
    than dimensions) give a number and no complex square root.

    Source: arXiv 1706.08500.
    """
    values, vectors = torch.linalg.eigh(a.covariance)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ b.covariance @ root).clamp(min=0).sqrt().sum()
    distance = (a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace() - 2 * cross
    return max(0.0, float(distance))
