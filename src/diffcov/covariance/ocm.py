"""``ocm``: a head that regresses the diagonal of the Jacobian of eps_hat, which is the covariance of a perfect mean."""

from __future__ import annotations

from torch import Tensor

from diffcov.basis import PIXEL
from diffcov.covariance.form import Form
from diffcov.covariance.head_based import HeadCovariance
from diffcov.covariance.ingredients import Ingredients
from diffcov.denoiser.look import Look
from diffcov.denoiser.noised import Noised
from diffcov.diffusion.level import Level
from diffcov.gaussian import Diagonal


class OCM(HeadCovariance):
    """Var[eps | x_t] = 1 - sqrt(bbar_t) diag(d eps_hat / d x_t) (Tweedie), whose noise is not that of eps.

    The diagonal is seen through signs v: E[v * (J^T v)] = diag(J). Published is a head that regresses
    bbar_t diag(Hessian of log q) = -sqrt(bbar_t) diag(J) from zero. Its squared error is that of 1 plus the head
    against 1 - sqrt(bbar_t) v * (J^T v), which is what we regress: so the head says Var[eps | x_t] itself.
    """

    name = "ocm"
    summary = "per pixel, head on the Jacobian's diagonal; a perfect mean's, without the noise of eps in its target"
    formula = "r h(x_t, t), h on 1 - sqrt(beta_bar_t) v (J^T v)"
    form = Form.HEAD
    reference = "arXiv 2406.10808 (OCM-DPM)"
    file_words = ("ocm", "hes")
    needs_curvature = True
    needs_signal = True
    reach = 3.0
    """Where the mean is off, 1 - sqrt(bbar) J can be below 0, and the likelihood then has no minimum: a head that could
    go to 0 there would take its neighbours with it."""
    published_start = 1.0

    @classmethod
    def head_target(cls, noised: Noised, ingredients: Ingredients) -> Tensor:
        """1 - sqrt(bbar_t) v * (J^T v), of either sign; its mean given x_t is Var[eps | x_t] if the mean is perfect."""
        assert noised.curvature is not None
        return 1 - Level.at(noised.schedule, noised.look.t, noised.eps).noise * noised.curvature

    def unbounded(self, look: Look) -> Diagonal:
        """r h, (B, C, H, W)."""
        return Diagonal(PIXEL, float(self.schedule.ratio[look.time]) * self.head_at(look))
