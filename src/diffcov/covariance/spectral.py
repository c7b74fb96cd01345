"""``spectral``: one variance per 2-D cosine and colour axis, from the spectrum; no training, no extra network call."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from diffcov.basis import Basis
from diffcov.covariance.base import Covariance, Fitted, Need
from diffcov.denoiser.prediction import Prediction
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.statistics.spectrum import Spectrum


class Spectral(Covariance):
    """E[(U (eps - eps_hat))^2]: the diagonal of the imperfect-mean covariance in the cosine basis U.

    What is uncertain in x_0 given x_t is mostly smooth: over the frequencies this differs by orders of magnitude where
    it hardly differs over pixels. eps_hat is that of the clipped mean; where no clip binds, the mean over coefficients
    is ``corrected``.
    """

    name = "spectral"
    needs = frozenset({Need.SPECTRUM})
    summary = "per 2-D cosine and colour axis, from the spectrum"
    formula = "r E[(U (eps - eps_hat))^2], U = cosines x colour axes"
    reference = "diffcov; imperfect-mean covariance of arXiv 2206.07309 in the basis of 2402.02149 and 2608.21972"

    def __init__(self, spectrum: Spectrum) -> None:
        self.spectrum = spectrum
        self._by_time: dict[tuple[NoiseSchedule, int], Tensor] = {}

    @classmethod
    def build(cls, fitted: Fitted) -> Self:
        return cls(fitted.require(cls).spectrum)

    def basis_at(self, schedule: NoiseSchedule, t: int) -> Basis:
        return self.spectrum.basis

    def var_x0(self, schedule: NoiseSchedule, t: int, prediction: Prediction) -> Tensor:
        """r E[(U (eps - eps_hat))^2], (C, H, W) float64 >= 0."""
        if (schedule, t) not in self._by_time:
            self._by_time[schedule, t] = self.spectrum.var_eps(schedule, torch.tensor([t]))[0]
        return float(schedule.ratio[t]) * self._by_time[schedule, t].to(prediction.eps_hat.device)
