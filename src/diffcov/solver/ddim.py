"""``ddim``: the family with any eta, whose mean is written through (x0_hat, eps_hat)."""

from __future__ import annotations

from dataclasses import dataclass

from diffcov.solver.first_order import FirstOrder

__all__ = ["DDIM"]


@dataclass(frozen=True)
class DDIM(FirstOrder):
    """sqrt(abar_s) x0_hat + direction * eps_hat, eps_hat as predicted also where x0_hat was clipped."""

    name = "ddim"
    summary = "the probability flow at eta 0, noise between that and the Markov chain's above"
    reference = "arXiv 2010.02502, equation 12"
    through = "eps_hat"
