"""``sn``: a head h(x_t, t) that regresses the squared noise; the predicted noise's square is then taken off."""

from __future__ import annotations

import torch
from torch import Tensor

from diffcov.basis import PIXEL
from diffcov.covariance.form import Form
from diffcov.covariance.head_based import HeadCovariance
from diffcov.covariance.ingredients import Ingredients
from diffcov.denoiser.look import Look
from diffcov.denoiser.noised import Noised
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.gaussian import Diagonal


class SN(HeadCovariance):
    """E[eps^2 | x_t] - eps_hat^2, per pixel: exact for a perfect mean, the difference of two learned numbers else.

    Where the mean is off the difference turns negative and the clip puts it on the floor, so its likelihood is poor
    by nature; its samples are often the best of the published ones.
    """

    name = "sn"
    summary = "per pixel, head on eps^2; best of the published for FID, poor for likelihood"
    formula = "r (h(x_t, t) - eps_hat^2)"
    form = Form.HEAD_LESS_SQUARE
    reference = "arXiv 2206.07309 (SN-DPM)"
    file_words = ("sn", "eps2")
    likelihood_caution = "its likelihood is poor there by nature, npr and corrected suit likelihood better"
    start_needs = ()
    needs_signal = True

    @classmethod
    def head_target(cls, noised: Noised, ingredients: Ingredients) -> Tensor:
        """eps^2."""
        return noised.eps.square()

    @classmethod
    def typical(cls, error: Tensor) -> Tensor:
        """1, whatever the error."""
        return torch.ones_like(error)

    @classmethod
    def start(cls, schedule: NoiseSchedule, ingredients: Ingredients) -> Tensor:
        """E[eps^2] = 1."""
        return torch.ones(schedule.T + 1, dtype=torch.float64)

    def unbounded(self, look: Look) -> Diagonal:
        """r (h - eps_hat^2), (B, C, H, W), of either sign before the clip; eps_hat as predicted."""
        var_eps = self.head_at(look) - look.predicted.square()
        return Diagonal(PIXEL, float(self.schedule.ratio[look.time]) * var_eps)
