"""Expectations by the trapezoid rule: for smooth densities that vanish at both ends it converges geometrically."""

from __future__ import annotations

import torch
from torch import Tensor

from oracles.mixture import MixtureWorld

NODES = 4001
"""Nodes over +-12 (in units of the widest scale): finer than a tenth of the narrowest component."""


def x_t_grid(world: MixtureWorld, t: int) -> tuple[Tensor, Tensor]:
    """(x_t, weights) such that (weights * f(x_t)).sum() is E f(x_t)."""
    x_t = torch.linspace(-12, 12, NODES, dtype=torch.float64)
    weights = world.log_density(x_t, t).exp() * (x_t[1] - x_t[0])
    return x_t, weights


def eps_grid(world: MixtureWorld, x_t: Tensor, t: int) -> tuple[Tensor, Tensor]:
    """(eps, weights), (1, N) and (B, N), such that (weights * f(eps)).sum(1) is E[f(eps) | x_t], by Bayes' rule.

    p(eps | x_t) is proportional to N(eps; 0, 1) q((x_t - sqrt(bbar) eps) / sqrt(abar)).
    """
    abar, bbar = world.schedule.alpha_bar[t], world.schedule.beta_bar[t]
    eps = torch.linspace(-12, 12, NODES, dtype=torch.float64)[None]
    x_0 = (x_t[:, None] - bbar.sqrt() * eps) / abar.sqrt()
    weights = (world.log_density(x_0, 0) - eps.square() / 2).softmax(1)
    return eps, weights
