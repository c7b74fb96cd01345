"""``full``: every covariance between two pixels, shrunk to the spectrum; for small images."""

from __future__ import annotations

from typing import Self

from torch import Tensor

from diffcov.basis import Basis
from diffcov.covariance.base import Covariance, Fitted, Need
from diffcov.denoiser.prediction import Prediction
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.statistics.matrices import ResidualMatrices


class Full(Covariance):
    """E[(eps - eps_hat)(eps - eps_hat)^T], diagonal in its own eigenvectors, which differ from time to time.

    eps_hat is that of the clipped mean.
    """

    name = "full"
    needs = frozenset({Need.MATRICES})
    summary = "all pixels with all others, from matrices; images of up to 1024 values"
    formula = "r E[(eps - eps_hat)(eps - eps_hat)^T], shrunk to its spectrum"
    reference = "arXiv 2206.07309 derives it and uses its diagonal; shrinkage: Schaefer and Strimmer 2005"

    def __init__(self, matrices: ResidualMatrices) -> None:
        self.matrices = matrices

    @classmethod
    def build(cls, fitted: Fitted) -> Self:
        return cls(fitted.require(cls).matrices)

    def basis_at(self, schedule: NoiseSchedule, t: int) -> Basis:
        return self.matrices.diagonal(schedule, t)[0]

    def var_x0(self, schedule: NoiseSchedule, t: int, prediction: Prediction) -> Tensor:
        """r times the eigenvalues, (C, H, W) float64 >= 0, largest first."""
        return float(schedule.ratio[t]) * self.matrices.diagonal(schedule, t)[1].to(prediction.eps_hat.device)
