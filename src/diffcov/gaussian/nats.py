"""KL divergences and log-likelihoods of Gaussians that are diagonal in some orthonormal basis, in nats, float64."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffcov.data import DataDescription

__all__ = ["discretised_nats", "kl_diagonal", "kl_lifted"]


def kl_diagonal(mean_difference: Tensor, var_q: Tensor, var_p: Tensor) -> Tensor:
    """KL(N(m_q, var_q) || N(m_p, var_p)) per coordinate: (log(var_p/var_q) + (var_q + (m_q - m_p)^2)/var_p - 1) / 2."""
    return 0.5 * ((var_p / var_q).log() + (var_q + mean_difference.square()) / var_p - 1)


def kl_lifted(rho: Tensor, error_sq: Tensor, var_x0: Tensor) -> Tensor:
    """KL(q(x_s|x_t,x_0) || p(x_s|x_t)) of lifted covariances, through one number a step.

    The posterior has variance lambda2, the model lambda2 + gamma^2 var_x0, and their means differ by gamma (x_0 -
    x0_hat). Divided by lambda2 everywhere, gamma and lambda2 are left only as rho = gamma^2 / lambda2:

        (log(1 + rho var_x0) + rho (error^2 - var_x0) / (1 + rho var_x0)) / 2

    Args:
        rho: gamma^2 / lambda2 > 0; for DDPM the signal-to-noise ratio gained, abar_s/bbar_s - abar_t/bbar_t.
        error_sq: squared coefficients of x_0 - x0_hat, in the covariance's basis.
        var_x0: variances of those coefficients, >= 0.

    Returns:
        Nats per coordinate, broadcast.
    """
    scaled = rho * var_x0
    return 0.5 * (scaled.log1p() + rho * (error_sq - var_x0) / (1 + scaled))


def discretised_nats(x_0: Tensor, mean: Tensor, var: float, data: DataDescription) -> Tensor:
    """-log of the mass that N(mean, var) puts on the grey level of x_0; the two end levels take the tails.

    The mass is a difference of two normal distribution functions. It is taken on the side of the mean where both are
    small, as a difference of logarithms, so it neither cancels nor underflows: no floor is needed, however far off.

    Args:
        x_0: grey levels as numbers in [low, high].
        mean: of the model, same shape.
        var: of the model, > 0.
        data: levels and range.

    Returns:
        float64, nats per pixel, >= 0; exp(-nats) sums to 1 over the levels.
    Source: arXiv 2006.11239, equation 13 (there 256 levels, bins of half-width 1/255).
    """
    half, std = data.level_width / 2, math.sqrt(var)
    x_0, mean = x_0.double(), mean.double()
    below = torch.where(x_0 < data.low + half, -math.inf, (x_0 - half - mean) / std)
    above = torch.where(x_0 > data.high - half, math.inf, (x_0 + half - mean) / std)
    flip = below + above > 0
    lower, upper = torch.where(flip, -above, below), torch.where(flip, -below, above)
    log_lower, log_upper = torch.special.log_ndtr(lower), torch.special.log_ndtr(upper)
    log_mass: Tensor = log_upper + torch.log1p(-(log_lower - log_upper).exp())
    return -log_mass
