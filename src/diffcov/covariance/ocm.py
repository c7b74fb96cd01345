"""``ocm``: a head that regresses the diagonal of the Jacobian of eps_hat, which is the covariance of a perfect mean."""

from __future__ import annotations

from torch import Tensor

from diffcov.covariance.base import Fitted
from diffcov.covariance.head import HeadCovariance, Noised
from diffcov.denoiser.prediction import Prediction
from diffcov.diffusion.schedule import NoiseSchedule


class OCM(HeadCovariance):
    """Var[eps | x_t] = 1 - sqrt(bbar_t) diag(d eps_hat / d x_t) (Tweedie), whose noise is not that of eps.

    The diagonal is seen through signs v: E[v * (J^T v)] = diag(J). Published is a head that regresses
    bbar_t diag(Hessian of log q) = -sqrt(bbar_t) diag(J) from zero. Its squared error is that of 1 plus the head
    against 1 - sqrt(bbar_t) v * (J^T v), which is what we regress: so the head says Var[eps | x_t] itself.
    """

    name = "ocm"
    summary = "per pixel, head on the Jacobian's diagonal; a perfect mean's, without the noise of eps in its target"
    formula = "r h(x_t, t), h on 1 - sqrt(beta_bar_t) v (J^T v)"
    reference = "arXiv 2406.10808 (OCM-DPM)"
    needs_curvature = True
    reach = 3.0
    """Where the mean is off, 1 - sqrt(bbar) J can be below 0, and the likelihood then has no minimum: a head that could
    go to 0 there would take its neighbours with it."""
    published_start = 1.0

    @classmethod
    def head_target(cls, noised: Noised, fitted: Fitted) -> Tensor:
        """1 - sqrt(bbar_t) v * (J^T v), of either sign; its mean given x_t is Var[eps | x_t] if the mean is perfect."""
        assert noised.curvature is not None
        std = noised.schedule.beta_bar.sqrt().to(noised.eps.dtype).to(noised.t.device)[noised.t]
        return 1 - std[:, None, None, None] * noised.curvature

    def var_x0(self, schedule: NoiseSchedule, t: int, prediction: Prediction) -> Tensor:
        """r h, (B, C, H, W) float32."""
        times = self.times_like(t, prediction.eps_hat)
        return float(schedule.ratio[t]) * self.head(prediction.features, times)
