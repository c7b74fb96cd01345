"""Where a chain begins, and how much of the images is there still while it begins with noise alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

from diffcov.diffusion.grid import Grid
from diffcov.diffusion.schedule import NoiseSchedule

__all__ = ["LATE", "Beginning"]

LATE = 0.005
"""The alpha_bar above which pure noise is a wrong beginning.

x_t holds images at sqrt(alpha_bar) of their contrast, and what is left of them longest is what is coarsest: the mean of
n pixels, in which noise has the variance bbar / n. Where images differ in brightness with a variance of 1/16 (range
[-1, 1]), its signal-to-noise ratio in 32x32 pixels is alpha_bar 1024 / 16. At 0.005 it is a third: noise drowns it;
from 0.016 on it is seen, the network goes by it, and pure noise tells it the brightness of no image. Schedules with the
usual numbers end far below (0.00004 linear, 2e-9 cosine), and so do the usual grids along the linear one (0.0015 for
``quad`` and for ``stride`` in 5 steps, 0.00006 in 50).
"""


@dataclass(frozen=True)
class Beginning:
    """The first time that a chain visits.

    Attributes:
        time: t, 1..T.
        T: of the schedule.
        alpha_bar: there, 0..1.
    """

    time: int
    T: int
    alpha_bar: float

    @classmethod
    def of(cls, grid: Grid, schedule: NoiseSchedule) -> Self:
        """Where a chain along a grid begins: at its last time."""
        time = grid.times[-1]
        return cls(time, schedule.T, float(schedule.alpha_bar[time]))

    @property
    def late(self) -> bool:
        """Whether pure noise is a wrong beginning there: alpha_bar exceeds :data:`LATE`."""
        return self.alpha_bar > LATE

    def __str__(self) -> str:
        contrast = 100 * math.sqrt(self.alpha_bar)
        return (
            f"the chain begins at t = {self.time} of {self.T}, where alpha_bar is {self.alpha_bar:.2g}: pure noise "
            f"enters there, although images still have {contrast:.0f} % of their contrast"
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"time": self.time, "alpha_bar": self.alpha_bar}
