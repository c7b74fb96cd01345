"""``er-sde``: the extended reverse-time SDE, whose noise follows a rule of its own; order 1 to 3."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.diffusion.step import Step
from diffcov.solver.multistep import Multistep, Seen
from diffcov.solver.quadrature import gauss_legendre

__all__ = ["ERSDE"]


@dataclass(frozen=True)
class ERSDE(Multistep):
    """y_s = r y_t + (1 - r) x0_hat + noise of variance sigma_s^2 - r^2 sigma_t^2, r = phi(sigma_s) / phi(sigma_t).

    phi = sigma would be DDIM and phi = sigma^2 DDPM: with the published phi(sigma) = sigma (exp(sigma^0.3) + 10) a step
    is one of DDIM's family whose eta is small where the noise is small and near 1 where it is large. Order 2 and 3 take
    x0_hat as linear and quadratic in sigma.
    """

    order: int = 3

    name = "er-sde"
    summary = "extended reverse-time SDE: noise early, hardly any late"
    reference = "arXiv 2309.06169, algorithms 4 and 5 (VP, data prediction; noise scale function 5)"
    eta = None
    why_no_bound = "the bound is that of the Markov chain (ddpm)"

    def step(self, schedule: NoiseSchedule, s: int, t: int, place: int = 0) -> Step:
        """The step of DDIM's family that keeps sigma_s^2 - r^2 sigma_t^2 of noise."""
        if s == 0 or schedule.alpha_bar[t] == 0:
            return Step(schedule, s, t, 1.0)
        sigma_s, sigma_t = _sigma(schedule, s), _sigma(schedule, t)
        kept = (_phi_over_sigma(sigma_s) / _phi_over_sigma(sigma_t)) ** 2  # r^2 sigma_t^2 / sigma_s^2
        most = -math.expm1(2 * math.log(sigma_s / sigma_t))  # beta_tilde / bbar_s
        return Step(schedule, s, t, math.sqrt((1 - kept) / most))

    def trend(self, step: Step, seen: Sequence[Seen]) -> Tensor:
        """The mean of d (sigma - sigma_t) + dd (sigma - sigma_t)^2 / 2 under the weight d(-1 / phi)."""
        sigma_s = _sigma(step.schedule, step.s)
        sigmas = [_sigma(step.schedule, one.t) for one in seen]
        slope = (seen[0].x0_hat - seen[1].x0_hat) / (sigmas[0] - sigmas[1])
        total = slope * _moment(sigma_s, sigmas[0], 1)
        if len(seen) == 3:  # where the oldest look is at noise alone, its sigma is infinite and both quotients are 0
            before = (seen[1].x0_hat - seen[2].x0_hat) / (sigmas[1] - sigmas[2])
            total = total + (slope - before) / ((sigmas[0] - sigmas[2]) / 2) * _moment(sigma_s, sigmas[0], 2)
        return total


def _sigma(schedule: NoiseSchedule, t: int) -> float:
    """sqrt(bbar_t / abar_t); infinite where abar_t = 0."""
    return math.exp(-float(schedule.log_snr[t]) / 2)


def _phi_over_sigma(sigma: Any) -> Any:
    """phi(sigma) / sigma of numbers or arrays."""
    return np.exp(sigma**0.3) + 10


def _moment(sigma_s: float, sigma_t: float, n: int) -> float:
    """The mean of (sigma - sigma_t)^n / n! from sigma_s to sigma_t under the weight d(-1 / phi), by parts."""
    logs, weights = gauss_legendre(math.log(sigma_s), math.log(sigma_t))
    sigma = np.exp(logs)
    over_phi = weights / _phi_over_sigma(sigma)  # d sigma / phi
    phi_s, phi_t = sigma_s * _phi_over_sigma(sigma_s), sigma_t * _phi_over_sigma(sigma_t)
    inner = float((over_phi * (sigma - sigma_t) ** (n - 1)).sum()) / math.factorial(n - 1)
    return float(((sigma_s - sigma_t) ** n / math.factorial(n) + phi_s * inner) / (1 - phi_s / phi_t))
