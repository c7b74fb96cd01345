"""``banded``: the spectrum, louder or softer by frequency band and colour, as a head sees fit for the image."""

from __future__ import annotations

import torch
from torch import Tensor

from diffcov.covariance.form import Form
from diffcov.covariance.head_based import HeadCovariance
from diffcov.covariance.ingredients import FittedHead, Ingredients
from diffcov.covariance.spectral import Spectral
from diffcov.denoiser.look import Look
from diffcov.denoiser.noised import Noised
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.gaussian import Diagonal
from diffcov.statistics.spectrum import Spectrum


class Banded(HeadCovariance):
    """spectrum(t) times a factor that depends on x_t: some images are busier than others, and the features know.

    Diagonal in the spectrum's basis, so likelihood stays exact. An unfitted head is exactly ``spectral``.
    """

    name = "banded"
    needs = (Spectrum, FittedHead)
    summary = "spectral, times a factor a frequency band and colour from a head"
    formula = "r E[(U (eps - eps_hat))^2] a(x_t, t)"
    form = Form.SPECTRUM_HEAD
    reference = "diffcov"
    clips = True
    losses = ("likelihood",)
    architectures = ("bands",)
    start_needs = (Spectrum,)

    def __init__(self, ingredients: Ingredients) -> None:
        super().__init__(ingredients)
        self._spectral = Spectral(ingredients)

    @classmethod
    def head_target(cls, noised: Noised, ingredients: Ingredients) -> Tensor:
        """(U (eps - eps_hat))^2 of the clipped mean, over its own mean in the spectrum."""
        basis = ingredients[Spectrum].basis
        return basis.forward(noised.residual).square() / cls.head_unit(noised, ingredients)

    @classmethod
    def head_unit(cls, noised: Noised, ingredients: Ingredients) -> Tensor:
        """The spectrum itself, (B, C, H, W)."""
        spectrum, times = ingredients[Spectrum], noised.look.t
        t = times if isinstance(times, Tensor) else torch.full((len(noised.eps),), times)
        return spectrum.var_eps(noised.schedule, t).to(noised.eps.device, noised.eps.dtype)

    @classmethod
    def start(cls, schedule: NoiseSchedule, ingredients: Ingredients) -> Tensor:
        """1: the spectrum itself."""
        return torch.ones(schedule.T + 1, dtype=torch.float64)

    def unbounded(self, look: Look) -> Diagonal:
        """(B, C, H, W) float64 >= 0."""
        spectral = self._spectral.unbounded(look)
        return Diagonal(spectral.basis, spectral.var * self.head_at(look))
