"""``deis``: eps_hat as a polynomial in log sigma, integrated exactly over sigma; order 1 to 3."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diffcov.diffusion.step import Step
from diffcov.solver.multistep import Multistep, Seen
from diffcov.solver.quadrature import gauss_legendre

__all__ = ["DEIS"]


@dataclass(frozen=True)
class DEIS(Multistep):
    """y_s = y_t + int_{sigma_t}^{sigma_s} P d sigma, P the polynomial in log sigma through the last eps_hat.

    Unlike ``ipndm`` it knows how long each step was. A look at alpha_bar 0, where log sigma is infinite, is left out.
    """

    through: str = "eps_hat"

    name = "deis"
    summary = "eps_hat extrapolated in log sigma, integrated exactly"
    reference = "arXiv 2204.13902, section 3.2 (tAB, in log rho)"
    eta = 0.0

    def trend(self, step: Step, seen: Sequence[Seen]) -> Tensor:
        """-sigma_t times the mean over the step of the interpolating polynomial's distance from eps_hat(x_t)."""
        log_sigma = step.schedule.log_snr / -2
        now = float(log_sigma[step.t])
        told = [(float(log_sigma[one.t]) - now, one) for one in seen[1:] if math.isfinite(log_sigma[one.t])]
        places, weights = gauss_legendre(float(log_sigma[step.s]) - now, 0.0)
        mass = weights * np.exp(places)  # d sigma in units of sigma_t
        total = torch.zeros_like(seen[0].eps_hat)
        for own, one in told:
            lagrange = places / own
            for other, _ in told:
                if other != own:
                    lagrange = lagrange * (places - other) / (own - other)
            total = total + float((mass * lagrange).sum() / mass.sum()) * (one.eps_hat - seen[0].eps_hat)
        return -math.exp(now) * total
