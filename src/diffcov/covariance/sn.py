"""``sn``: a head h(x_t, t) that regresses the squared noise; the predicted noise's square is then taken off."""

from __future__ import annotations

import torch
from torch import Tensor

from diffcov.covariance.base import Fitted
from diffcov.covariance.head import HeadCovariance, Noised
from diffcov.denoiser.prediction import Prediction
from diffcov.diffusion.schedule import NoiseSchedule


class SN(HeadCovariance):
    """E[eps^2 | x_t] - eps_hat^2, per pixel: exact for a perfect mean, the difference of two learned numbers else.

    Where the mean is off the difference turns negative and the clip puts it on the floor, so its likelihood is poor
    by nature; its samples are often the best of the published ones.
    """

    name = "sn"
    summary = "per pixel, head on eps^2; best of the published for FID, poor for likelihood"
    formula = "r (h(x_t, t) - eps_hat^2)"
    reference = "arXiv 2206.07309 (SN-DPM)"
    likelihood_caution = "its likelihood is poor there by nature, npr and corrected suit likelihood better"
    start_needs = frozenset()

    @classmethod
    def head_target(cls, noised: Noised, fitted: Fitted) -> Tensor:
        """eps^2."""
        return noised.eps.square()

    @classmethod
    def start(cls, schedule: NoiseSchedule, fitted: Fitted) -> Tensor:
        """E[eps^2] = 1."""
        return torch.ones(schedule.T + 1, dtype=torch.float64)

    def var_x0(self, schedule: NoiseSchedule, t: int, prediction: Prediction) -> Tensor:
        """r (h - eps_hat^2), (B, C, H, W) float32, of either sign before the clip."""
        times = self.times_like(t, prediction.eps_hat)
        return float(schedule.ratio[t]) * (self.head(prediction.features, times) - prediction.eps_hat.square())
