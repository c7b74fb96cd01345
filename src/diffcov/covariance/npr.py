"""``npr``: a head g(x_t, t) that regresses the squared error of the predicted noise (noise prediction residual)."""

from __future__ import annotations

from torch import Tensor

from diffcov.covariance.base import Fitted
from diffcov.covariance.head import HeadCovariance, Noised
from diffcov.denoiser.prediction import Prediction
from diffcov.diffusion.schedule import NoiseSchedule


class NPR(HeadCovariance):
    """E[(eps - eps_hat)^2 | x_t] = Var[eps | x_t] + bias^2, per pixel: right at the learned mean, and >= 0."""

    name = "npr"
    summary = "per pixel, head on (eps - eps_hat)^2; best of the published for likelihood"
    formula = "r g(x_t, t)"
    reference = "arXiv 2206.07309 (NPR-DPM)"

    @classmethod
    def head_target(cls, noised: Noised, fitted: Fitted) -> Tensor:
        """(eps - eps_hat)^2."""
        return (noised.eps - noised.eps_hat).square()

    def var_x0(self, schedule: NoiseSchedule, t: int, prediction: Prediction) -> Tensor:
        """r g, (B, C, H, W) float32; a g fitted by squared error may dip below 0, which the clip mends."""
        times = self.times_like(t, prediction.eps_hat)
        return float(schedule.ratio[t]) * self.head(prediction.features, times)
