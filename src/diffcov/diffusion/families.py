"""The papers' noise schedules as functions: log(alpha_bar_t / alpha_bar_{t-1}) for t = 1..T, without cancellation.

Each takes T and its own numbers and returns (T,) float64; :class:`NoiseSchedule` names them and states their defaults.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffcov.errors import InputError

__all__ = ["MAX_BETA", "cosine_log_alpha", "edm_log_alpha", "linear_log_alpha", "vp_log_alpha"]

MAX_BETA = 0.999
"""No single step destroys more of the signal than this (cosine schedule, arXiv 2102.09672, section 3.2)."""


def linear_log_alpha(T: int, beta_start: float, beta_end: float) -> Tensor:
    """log(1 - beta_t), beta_t evenly spaced from beta_start * 1000/T to beta_end * 1000/T.

    Raises:
        InputError: a T so small that beta would reach 1 (T <= 20 with the default range).
    """
    _check_T(T)
    scale = 1000 / T
    if not 0 < beta_start * scale <= beta_end * scale < 1:
        raise InputError(
            f"the linear schedule with T={T} would need beta from {beta_start * scale:.3g} to "
            f"{beta_end * scale:.3g}, outside (0, 1); use T > {math.floor(1000 * beta_end)} or the cosine schedule"
        )
    return torch.log1p(-torch.linspace(beta_start * scale, beta_end * scale, T, dtype=torch.float64))


def cosine_log_alpha(T: int, offset: float) -> Tensor:
    """log(1 - beta_t) of alpha_bar_t = f(t)/f(0), f(t) = cos^2((t/T + offset)/(1 + offset) * pi/2).

    With the complement c_t = (1 - t/T)/(1 + offset) * pi/2 of that angle, f = sin^2(c) and
    beta_t = 1 - f(t)/f(t-1) = sin(c_{t-1} - c_t) sin(c_{t-1} + c_t) / sin^2(c_{t-1}): no cancellation anywhere.
    """
    _check_T(T)
    unit = math.pi / 2 / (1 + offset) / T
    c = unit * torch.arange(T, -1, -1, dtype=torch.float64)
    beta = math.sin(unit) * torch.sin(c[:-1] + c[1:]) / torch.sin(c[:-1]).square()
    return torch.log1p(-beta.clamp(max=MAX_BETA))


def vp_log_alpha(T: int, beta_min: float, beta_max: float) -> Tensor:
    """Differences of -(beta_min u + (beta_max - beta_min) u^2 / 2) between neighbouring u = t/T."""
    _check_T(T)
    t = torch.arange(1, T + 1, dtype=torch.float64)
    return -(beta_min / T + (beta_max - beta_min) * (2 * t - 1) / (2 * T * T))


def edm_log_alpha(T: int, sigma_min: float, sigma_max: float, rho: float) -> Tensor:
    """log((1 + sigma_{t-1}^2) / (1 + sigma_t^2)), sigma_t^(1/rho) evenly spaced from sigma_min to sigma_max.

    With u = sigma^(1/rho) and its step d, sigma_t^2 - sigma_{t-1}^2 = sigma_{t-1}^2 expm1(2 rho log1p(d / u_{t-1})).
    One step alone goes to sigma_max.

    Raises:
        InputError: ends that are not 0 < sigma_min < sigma_max, or a rho that is not positive.
    """
    _check_T(T)
    if not (0 < sigma_min < sigma_max < math.inf and 0 < rho < math.inf):
        raise InputError(
            f"the edm schedule needs 0 < sigma_min < sigma_max and rho > 0, found {sigma_min:g}, {sigma_max:g} and "
            f"{rho:g}"
        )
    if T == 1:
        return -torch.log1p(torch.tensor([sigma_max], dtype=torch.float64).square())
    first, last = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    step = (last - first) / (T - 1)
    u = first + step * torch.arange(T - 1, dtype=torch.float64)
    variance = u.pow(2 * rho)
    grown = variance * torch.expm1(2 * rho * torch.log1p(step / u)) / (1 + variance)
    return -torch.log1p(torch.cat([torch.tensor([sigma_min], dtype=torch.float64).square(), grown]))


def _check_T(T: int) -> None:
    if T < 1:
        raise InputError(f"a noise schedule needs T >= 1, found {T}")
