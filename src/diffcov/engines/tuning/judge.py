"""Distances that are fair at small counts: the Frechet distance along the reference's widest directions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from diffcov.engines.distances.frechet import Gaussian, frechet_distance

__all__ = ["Yardstick"]

PER_DIRECTION = 4
"""Samples for each direction that is looked along."""


@dataclass(frozen=True, eq=False)
class Yardstick:
    """Mean and covariance of reference features, and how far samples are from them.

    Attributes:
        reference: of the features.
    """

    reference: Gaussian

    @cached_property
    def _axes(self) -> Tensor:
        """(F, F), the principal directions in columns, the widest first."""
        vectors: Tensor = torch.linalg.eigh(self.reference.covariance).eigenvectors
        return vectors.flip(1)

    def distance(self, features: Tensor) -> float:
        """The Frechet distance of (n, F) features along the first min(F, n / 4) directions, at least one.

        With fewer samples than dimensions the covariance of the samples has directions without any spread; along a
        quarter as many directions as there are samples it is known well enough, and the bias that is left is common to
        candidates of one count. Distances of different counts do not compare.
        """
        count, dims = features.shape
        some = min(dims, max(1, count // PER_DIRECTION))
        axes = self._axes[:, :some]
        told = Gaussian(axes.T @ self.reference.mean, axes.T @ self.reference.covariance @ axes)
        return frechet_distance(Gaussian.of(features.double() @ axes), told)

    def spread(self, features: Tensor, resamples: int = 50) -> float:
        """The standard error of :meth:`distance`, by drawing the samples again from themselves."""
        draw = torch.Generator().manual_seed(0)
        found = [
            self.distance(features[torch.randint(len(features), (len(features),), generator=draw)])
            for _ in range(resamples)
        ]
        return float(torch.tensor(found, dtype=torch.float64).std())
