"""``banded``: the spectrum, louder or softer by frequency band and colour, as a head sees fit for the image."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from diffcov.basis import Basis
from diffcov.covariance.base import Fitted, HeadFunction, Need
from diffcov.covariance.head import HeadCovariance, Noised
from diffcov.covariance.spectral import Spectral
from diffcov.denoiser.prediction import Prediction
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.statistics.spectrum import Spectrum


class Banded(HeadCovariance):
    """spectrum(t) times a factor that depends on x_t: some images are busier than others, and the features know.

    Diagonal in the spectrum's basis, so likelihood stays exact. An unfitted head is exactly ``spectral``.
    """

    name = "banded"
    needs = frozenset({Need.SPECTRUM, Need.HEAD})
    summary = "spectral, times a factor a frequency band and colour from a head"
    formula = "r E[(U (eps - eps_hat))^2] a(x_t, t)"
    reference = "diffcov"
    losses = ("likelihood",)
    architectures = ("bands",)
    start_needs = frozenset({Need.SPECTRUM})

    def __init__(self, spectrum: Spectrum, head: HeadFunction) -> None:
        super().__init__(head)
        self.spectral = Spectral(spectrum)

    @classmethod
    def build(cls, fitted: Fitted) -> Self:
        known = fitted.require(cls)
        return cls(known.spectrum, known.heads[cls.name])

    @classmethod
    def head_target(cls, noised: Noised, fitted: Fitted) -> Tensor:
        """(U (eps - eps_hat))^2 of the clipped mean, over its own mean in the spectrum."""
        assert fitted.spectrum is not None
        mean = fitted.spectrum.var_eps(noised.schedule, noised.t).to(noised.eps.device, noised.eps.dtype)
        return fitted.spectrum.basis.forward(noised.eps - noised.eps_clipped).square() / mean

    @classmethod
    def start(cls, schedule: NoiseSchedule, fitted: Fitted) -> Tensor:
        """1: the spectrum itself."""
        return torch.ones(schedule.T + 1, dtype=torch.float64)

    def basis_at(self, schedule: NoiseSchedule, t: int) -> Basis:
        return self.spectral.basis_at(schedule, t)

    def var_x0(self, schedule: NoiseSchedule, t: int, prediction: Prediction) -> Tensor:
        """(B, C, H, W) float64 >= 0."""
        factor = self.head(prediction.features, self.times_like(t, prediction.eps_hat))
        return self.spectral.var_x0(schedule, t, prediction) * factor
