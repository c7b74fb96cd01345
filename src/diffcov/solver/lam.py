"""The variable in which x0_hat is nearly straight, and how a step weighs it."""

from __future__ import annotations

import math

from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.diffusion.step import Step

__all__ = ["half_log_snr", "moments", "speed"]


def half_log_snr(schedule: NoiseSchedule, t: int) -> float:
    """lambda_t = log(sqrt(abar_t) / sqrt(bbar_t)): infinite for t = 0, and minus that where abar_t = 0."""
    return float(schedule.log_snr[t]) / 2


def speed(step: Step) -> float:
    """H > 0 with gamma = sqrt(abar_s) (1 - exp(-H)): h at eta 0 and 2 h at eta 1, h being the step in lambda.

    The step weighs x0_hat at lambda by exp(-H (lambda_s - lambda) / h), which is how the form for the SDE follows from
    that for the ODE.
    """
    return -math.log1p(-step.gamma / math.sqrt(step.alpha_bar_s))


def moments(H: float, count: int) -> list[float]:
    """The means of r, r^2, .. over a step, r in [0, 1] being weighed by exp(-H (1 - r)).

    By parts: I_n = int r^n exp(-H (1 - r)) dr = (1 - n I_{n-1}) / H, I_0 = (1 - exp(-H)) / H.
    """
    whole = -math.expm1(-H) / H
    found, last = [], whole
    for n in range(1, count + 1):
        last = (1 - n * last) / H
        found.append(last / whole)
    return found
