"""``npr``: a head g(x_t, t) that regresses the squared error of the predicted noise (noise prediction residual)."""

from __future__ import annotations

from torch import Tensor

from diffcov.basis import PIXEL
from diffcov.covariance.form import Form
from diffcov.covariance.head_based import HeadCovariance
from diffcov.covariance.ingredients import Ingredients
from diffcov.denoiser.look import Look
from diffcov.denoiser.noised import Noised
from diffcov.gaussian import Diagonal


class NPR(HeadCovariance):
    """E[(eps - eps_hat)^2 | x_t] = Var[eps | x_t] + bias^2, per pixel: right at the learned mean, and >= 0."""

    name = "npr"
    summary = "per pixel, head on (eps - eps_hat)^2; best of the published for likelihood"
    formula = "r g(x_t, t)"
    form = Form.HEAD
    reference = "arXiv 2206.07309 (NPR-DPM)"
    file_words = ("npr", "epsc")

    @classmethod
    def head_target(cls, noised: Noised, ingredients: Ingredients) -> Tensor:
        """(eps - eps_hat)^2."""
        return noised.residual.square()

    def unbounded(self, look: Look) -> Diagonal:
        """r g, (B, C, H, W); a g fitted by squared error may dip below 0, which the clip mends."""
        return Diagonal(PIXEL, float(self.schedule.ratio[look.time]) * self.head_at(look))
