"""Whether the range that a network learned is worth more than one measured number a time: both bounds, side by side."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from diffcov.covariance.base import Covariance
from diffcov.covariance.corrected import Corrected
from diffcov.covariance.ingredients import Ingredients
from diffcov.covariance.learned_range import LearnedRange
from diffcov.data import ExampleSet
from diffcov.denoiser.base import Denoiser
from diffcov.denoiser.clipped import Clipped
from diffcov.diffusion.grids import even
from diffcov.engines.forward import measure
from diffcov.engines.meters.likelihood import Estimate, LikelihoodMeter
from diffcov.engines.sweep import estimate
from diffcov.statistics.table import VarianceTable

__all__ = ["RangeCheck", "check_range"]

STEPS = 10
"""Of the grid: few, for that is what covariances are wanted for."""
SURE = 2.0
"""Standard errors by which a difference has to be below 0."""


@dataclass(frozen=True, eq=False)
class RangeCheck:
    """The bounds of ``learned-range`` and of ``corrected`` on the same images and the same noise.

    Attributes:
        times: of the grid.
        dims: d of the images.
        learned: (N,) float64, nats an image.
        corrected: (N,) float64, nats an image, its table measured on these very images.
    """

    times: tuple[int, ...]
    dims: int
    learned: Tensor
    corrected: Tensor

    @property
    def difference(self) -> Estimate:
        """The learned bound less the corrected one, in bits/dim, over images: below 0 the learned range is better."""
        return Estimate.of((self.learned - self.corrected) / (self.dims * math.log(2)))

    @property
    def earned(self) -> bool:
        """Whether the learned bound is the lower one by two standard errors; never of a single image."""
        found = self.difference
        return found.mean + SURE * found.stderr < 0

    @property
    def verdict(self) -> str:
        """What follows from it, in one sentence without a full stop."""
        found = self.difference
        apart = f"{found.mean:+.4g} bits/dim from that of corrected (standard error {found.stderr:.2g})"
        what = f"the bound of learned-range on {len(self.learned)} images at {len(self.times)} steps is {apart}"
        return f"{what}: auto {'may take it before corrected' if self.earned else 'leaves it alone'}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values; bounds in bits/dim."""
        learned, corrected = (Estimate.of(nats / (self.dims * math.log(2))) for nats in (self.learned, self.corrected))
        found = self.difference
        return {
            "images": len(self.learned),
            "steps": len(self.times),
            "learned-range": learned.mean,
            "corrected": corrected.mean,
            "difference": found.mean,
            "difference_stderr": None if math.isnan(found.stderr) else found.stderr,
            "auto": "may take learned-range before corrected" if self.earned else "leaves learned-range alone",
        }


def check_range(denoiser: Denoiser, examples: ExampleSet, *, seed: int = 0, batch_size: int = 64) -> RangeCheck:
    """Measure both bounds, with x0_hat clipped, in two passes over ten times.

    The table of ``corrected`` comes from the images that it is judged on, which flatters it by a trifle and the learned
    range not at all: what is found in favour of the learned range holds.

    Args:
        denoiser: a mean that learned a range, as it predicts.
        examples: on its device, with labels if it needs them.
        seed: of the noise.
        batch_size: images a network call.

    Raises:
        InputError: a network that learned no variance, or whose output says nothing at a time of the grid.
        UsageError: a schedule of fewer than two steps.
        NonFiniteError: the network gave NaN or infinity.
    """
    schedule, data = denoiser.schedule, denoiser.data
    grid = even(schedule.T, min(STEPS, schedule.T))
    swept = estimate(denoiser, examples, [VarianceTable], grid.times, len(examples), seed=seed, batch_size=batch_size)
    known = Ingredients.of(schedule, data, swept[VarianceTable])
    covariances: dict[str, Covariance] = {kind.name: kind(known) for kind in (LearnedRange, Corrected)}
    meter = LikelihoodMeter(schedule, data, covariances, [grid], len(examples))
    measure(Clipped(denoiser), examples, [meter], seed=seed, batch_size=batch_size)
    learned, corrected = (meter.result(name, grid).nats for name in covariances)
    return RangeCheck(grid.times, data.dims, learned, corrected)
