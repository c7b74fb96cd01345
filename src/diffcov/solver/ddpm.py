"""``ddpm``: the Markov chain, whose mean is written through (x0_hat, x_t)."""

from __future__ import annotations

from dataclasses import dataclass

from diffcov.diffusion.step import Eta
from diffcov.solver.first_order import FirstOrder

__all__ = ["DDPM"]


@dataclass(frozen=True)
class DDPM(FirstOrder):
    """gamma x0_hat + direction / sqrt(bbar_t) x_t, with eta 1 unless another is asked for.

    Along the exact reverse chain (eta 1) x0_hat(x_t) = E[x_0 | x_t] is a martingale, so the mean is exact after one
    look and earlier looks have nothing to add: the covariance is all that is left.
    """

    eta: Eta = 1.0

    name = "ddpm"
    summary = "the Markov chain, written through x_t; at eta 1 it has a bound on the likelihood"
    reference = "arXiv 2006.11239, equation 7"
    through = "x_t"

    @property
    def why_no_bound(self) -> str | None:
        """There is one at eta 1, the Markov chain's."""
        return None if self.eta == 1 else super().why_no_bound
