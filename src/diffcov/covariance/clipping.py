"""The two clips: var_x0 to its bounds, and the last noise to its cap.

Both are part of the published methods. The first keeps errors of the estimate from being amplified by the lift;
the second keeps the last noise below what the eye sees. The cap belongs to sampling only, never to likelihood.
"""

from __future__ import annotations

import math

from torch import Tensor

from diffcov.diffusion.process import Process
from diffcov.diffusion.schedule import NoiseSchedule

__all__ = ["clip_var_x0", "default_cap_levels", "last_noise_cap"]


def clip_var_x0(var_x0: Tensor, upper: float | Tensor) -> Tensor:
    """0 <= Cov[x_0 | x_t] <= upper, elementwise; ``upper`` is the covariance's own bound, one or one a coefficient."""
    if isinstance(upper, Tensor):
        return var_x0.clamp(min=0.0).minimum(upper.to(var_x0.device, var_x0.dtype))
    return var_x0.clamp(0.0, upper)


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


def default_cap_levels(schedule: NoiseSchedule, process: Process) -> float:
    """2 grey levels for DDPM on linear schedules, else 1. Source: as :func:`last_noise_cap`."""
    return 2.0 if schedule.name == "linear" and process.eta == 1 else 1.0
