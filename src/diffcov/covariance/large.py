"""``large``: as uncertain as if the data were white noise of unit variance; for DDPM that is beta_ts.

Cov[x_0 | x_t] of N(0, I) data is beta_bar_t, and its DDPM lift is

    beta_tilde + gamma^2 beta_bar_t = beta_ts (bbar_s + abar_s beta_ts) / bbar_t = beta_ts

because abar_s beta_ts = bbar_t - bbar_s. So the upper end of the usual range needs no rule of its own beside the
lift; for data in a range narrower than [-1, 1] the bound on var_x0 holds for it as for any other. With eta < 1 it is
not a variance anybody proposed, and it is refused.
"""

from __future__ import annotations

from diffcov.basis import PIXEL
from diffcov.covariance.base import Covariance
from diffcov.covariance.form import Form
from diffcov.denoiser.look import Look
from diffcov.gaussian import Diagonal


class Large(Covariance):
    """The upper end of the usual range: exact for data that is N(0, I)."""

    name = "large"
    of_ddpm = True
    summary = "beta of the forward step (DDPM only)"
    formula = "beta_bar_t, so that var_xs = beta_ts"
    form = Form.BY_TIME
    reference = "arXiv 2006.11239, section 3.2"

    def unbounded(self, look: Look) -> Diagonal:
        """beta_bar_t, one float64 number."""
        return Diagonal(PIXEL, self.schedule.beta_bar[look.time].clone())
