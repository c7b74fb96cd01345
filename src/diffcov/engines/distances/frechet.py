"""The Frechet distance between two sets of vectors, each described by its mean and covariance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from diffcov.errors import InputError, UsageError

__all__ = ["Gaussian", "blocks_of", "frechet_distance", "require_enough"]

BLOCK = 4096
"""Vectors held in float64 at a time."""


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
        count, dims = vectors.shape
        mean = sum((block.double().sum(0) for block in torch.split(vectors, BLOCK)), torch.zeros(dims).double()) / count
        covariance = torch.zeros(dims, dims, dtype=torch.float64)
        for centred in blocks_of(vectors, mean):
            covariance.addmm_(centred.T, centred)
        return cls(mean, covariance / (count - 1))

    @cached_property
    def root(self) -> Tensor:
        """The symmetric root of the covariance, (d, d) float64, made once."""
        values, vectors = torch.linalg.eigh(self.covariance)
        root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
        return root


def blocks_of(vectors: Tensor, mean: Tensor) -> Iterator[Tensor]:
    """Vectors (N, d) less a mean (d,), some thousands at a time, in float64."""
    for block in torch.split(vectors, BLOCK):
        yield block.double() - mean


def require_enough(count: int, dims: int, what: str) -> None:
    """Refuse a Frechet distance of fewer vectors than dimensions: their covariance has directions without any spread.

    Args:
        count: number of vectors.
        dims: of one vector.
        what: the vectors in words, plural: "samples".

    Raises:
        UsageError: ``count < dims``.
    """
    if count < dims:
        raise UsageError(
            f"a Frechet distance in {dims} dimensions needs at least {dims} {what}, found {count}; "
            f"give more{' (--count)' if what == 'samples' else ''}, or choose --features with fewer dimensions"
        )


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """||mu_a - mu_b||^2 + tr(S_a + S_b - 2 (S_b^1/2 S_a S_b^1/2)^1/2) >= 0, in squared units of the vectors.

    The root of ``b`` is made once, for all that are compared with it. The symmetric form of the last term has real,
    non-negative eigenvalues, so singular covariances (fewer vectors than dimensions) give a number and no complex
    square root.

    Source: arXiv 1706.08500.
    """
    cross = torch.linalg.eigvalsh(b.root @ a.covariance @ b.root).clamp(min=0).sqrt().sum()
    distance = (a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace() - 2 * cross
    return max(0.0, float(distance))
