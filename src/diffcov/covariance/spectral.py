"""``spectral``: one variance per 2-D cosine and colour axis, from the spectrum; no training, no extra network call."""

from __future__ import annotations

import torch
from torch import Tensor

from diffcov.covariance.base import Covariance
from diffcov.covariance.form import Form
from diffcov.covariance.ingredients import Ingredients
from diffcov.denoiser.look import Look
from diffcov.gaussian import Diagonal
from diffcov.statistics.spectrum import Spectrum
from diffcov.transfer import sent


class Spectral(Covariance):
    """E[(U (eps - eps_hat))^2]: the diagonal of the imperfect-mean covariance in the cosine basis U.

    What is uncertain in x_0 given x_t is mostly smooth: over the frequencies this differs by orders of magnitude where
    it hardly differs over pixels. eps_hat is that of the clipped mean; where no clip binds, the mean over coefficients
    is ``corrected``.
    """

    name = "spectral"
    needs = (Spectrum,)
    summary = "per 2-D cosine and colour axis, from the spectrum"
    formula = "r E[(U (eps - eps_hat))^2], U = cosines x colour axes"
    form = Form.SPECTRUM
    reference = "diffcov; imperfect-mean covariance of arXiv 2206.07309 in the basis of 2402.02149 and 2608.21972"

    def __init__(self, ingredients: Ingredients) -> None:
        super().__init__(ingredients)
        self._by_time: dict[int, Tensor] = {}

    def unbounded(self, look: Look) -> Diagonal:
        """r E[(U (eps - eps_hat))^2], (C, H, W) float64 >= 0."""
        t, spectrum = look.time, self.ingredients[Spectrum]
        if t not in self._by_time:
            self._by_time[t] = float(self.schedule.ratio[t]) * spectrum.var_eps(self.schedule, torch.tensor([t]))[0]
        return Diagonal(spectrum.basis, sent(self._by_time[t], look.x_t.device))
