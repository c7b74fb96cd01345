"""Distances that are fair at small counts: the Frechet distance, of few samples along the reference's axes alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from diffcov.engines.distances.frechet import Gaussian, frechet_distance

__all__ = ["Yardstick"]

PER_DIMENSION = 4
"""Samples for each dimension of the features from which on their covariance is known well enough."""


@dataclass(frozen=True, eq=False)
class Yardstick:
    """Mean and covariance of reference features, and how far samples are from them.

    Attributes:
        reference: of the features.
    """

    reference: Gaussian

    @cached_property
    def _axes(self) -> Tensor:
        """(F, F), the principal directions in columns."""
        vectors: Tensor = torch.linalg.eigh(self.reference.covariance).eigenvectors
        return vectors

    @cached_property
    def _along(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the reference along its axes, (F,) each."""
        variance = (self._axes.T @ self.reference.covariance @ self._axes).diagonal()
        return self._axes.T @ self.reference.mean, variance.clamp(min=0).sqrt()

    def distance(self, features: Tensor) -> float:
        """The Frechet distance of (n, F) features; of fewer than 4 F the one that knows no correlations.

        A covariance of F (F + 1) / 2 numbers is not known from a few samples, and its square root is far off. Means and
        variances along the reference's own axes are, sum (m_i - mu_i)^2 + (s_i - sigma_i)^2: of 64 digits they tell
        samplers apart that need twice as many otherwise (benchmarks/README.md). Distances of different counts do not
        compare.
        """
        count, dims = features.shape
        if count >= PER_DIMENSION * dims:
            return frechet_distance(Gaussian.of(features.double()), self.reference)
        mean, spread = self._along
        along = features.double() @ self._axes
        return float((along.mean(0) - mean).square().sum() + (along.std(0) - spread).square().sum())

    def spread(self, features: Tensor, resamples: int = 50) -> float:
        """The standard error of :meth:`distance`, by drawing the samples again from themselves."""
        draw = torch.Generator().manual_seed(0)
        found = [
            self.distance(features[torch.randint(len(features), (len(features),), generator=draw)])
            for _ in range(resamples)
        ]
        return float(torch.tensor(found, dtype=torch.float64).std())
