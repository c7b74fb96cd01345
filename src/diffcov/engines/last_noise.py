"""The cap on the last noise, below what the eye sees: part of the published methods, and of sampling alone."""

from __future__ import annotations

import math

import torch

from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.solver.base import Solver

__all__ = ["default_cap_levels", "last_noise_cap"]


def last_noise_cap(cap_levels: float, level_width: float) -> float:
    """The variance whose noise is, on average, ``cap_levels`` grey levels in size: (y w sqrt(pi/2))^2.

    E|z| = sqrt(2/pi) std for Gaussian z, hence the factor. In another basis it caps each coefficient, and so each pixel
    too. Scaling the whole spectrum until no pixel exceeds it would keep more of the smooth noise; measured, its samples
    are a little worse, and without any cap those of DDIM are much worse (benchmarks/README.md).

    Args:
        cap_levels: y >= 0, in grey levels.
        level_width: w, the distance between grey levels in units of x_0 (2/255 for 8-bit images in [-1, 1]).

    Source: arXiv 2201.06503, appendix F (there 2/255 is a constant; digits with 17 levels need their own).
    """
    return (cap_levels * level_width) ** 2 * (math.pi / 2)


def default_cap_levels(schedule: NoiseSchedule, solver: Solver) -> float:
    """2 grey levels for the Markov chain on linear schedules, else 1. Source: as :func:`last_noise_cap`."""
    return 2.0 if _is_linear(schedule) and solver.eta == 1 else 1.0


def _is_linear(schedule: NoiseSchedule) -> bool:
    """Whether beta_1..beta_T lie on a straight line, whatever the family is called, to 1e-5 of the largest."""
    beta = -schedule.log_alpha[1:].expm1()
    line = torch.linspace(float(beta[0]), float(beta[-1]), schedule.T, dtype=beta.dtype)
    return schedule.T > 2 and bool((beta - line).abs().max() <= 1e-5 * beta.max())
