"""``large``: as uncertain as if the data were white noise of unit variance; for DDPM that is beta_ts.

Cov[x_0 | x_t] of N(0, I) data is beta_bar_t, and its DDPM lift is

    beta_tilde + gamma^2 beta_bar_t = beta_ts (bbar_s + abar_s beta_ts) / bbar_t = beta_ts

because abar_s beta_ts = bbar_t - bbar_s. So the upper end of the usual range needs no rule of its own beside the
lift; for data in a range narrower than [-1, 1] the bound on var_x0 holds for it as for any other. With eta < 1 it is
not a variance anybody proposed, and it is refused.
"""

from __future__ import annotations

from typing import Self

from torch import Tensor

from diffcov.covariance.base import Covariance, Fitted
from diffcov.denoiser.prediction import Prediction
from diffcov.diffusion.process import Process
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import UsageError


class Large(Covariance):
    """The upper end of the usual range: exact for data that is N(0, I)."""

    name = "large"
    needs = frozenset()
    summary = "beta of the forward step (DDPM only)"
    formula = "beta_bar_t, so that var_xs = beta_ts"
    reference = "arXiv 2006.11239, section 3.2"

    @classmethod
    def build(cls, fitted: Fitted) -> Self:
        return cls()

    def var_x0(self, schedule: NoiseSchedule, t: int, prediction: Prediction) -> Tensor:
        """beta_bar_t, one float64 number."""
        return schedule.beta_bar[t]

    def check_process(self, process: Process) -> None:
        if process.eta != 1:
            raise UsageError(
                f"the large covariance is the variance of a DDPM step and means nothing for {process.name} with "
                f"eta={process.eta:g}; use --process ddpm, or another covariance"
            )
