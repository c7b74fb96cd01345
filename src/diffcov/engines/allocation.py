"""Where a sweep measures more: at the noise levels where curves through what was measured are least certain.

The standard error of a curve does not depend on the values that it goes through, only on where there are how many
images, how much images differ there, and how rough the curve is. So the images of a whole round are placed one handful
after the other, each where the error would then be largest, before the network is called.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.statistics.base import Wanted
from diffcov.statistics.knots import Knots
from diffcov.statistics.noise_curve import LogCurve
from diffcov.statistics.smooth import SmoothCurve

__all__ = ["BEGIN", "HANDFUL", "Uncertainty", "first_round"]

BEGIN = 24
"""Knots of the first round."""
MOST = 64
"""Knots, about: new ones stand no nearer to others than this many would."""
HANDFUL = 32
"""Images that are placed together."""


def first_round(schedule: NoiseSchedule, most: int | None = None) -> dict[int, int]:
    """Images by time, before anything is known: a handful at each of a few knots, even in log-SNR.

    Args:
        schedule: the noise schedule.
        most: images altogether; but at least two at each knot, below which nothing is known of how they scatter.
    """
    times = Knots.spread(schedule, BEGIN).times
    return dict.fromkeys(times, HANDFUL if most is None else max(2, min(HANDFUL, most // len(times))))


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """How well curves are known, and what more images would change.

    Args:
        schedule: the noise schedule.
        wanted: the quantities, measured at the same times and images.
    """

    schedule: NoiseSchedule
    wanted: Sequence[Wanted]

    @cached_property
    def _curves(self) -> list[_Curve]:
        """Laid once, whatever is asked of them."""
        alone = self.schedule.T if self.schedule.ends_at_zero else None
        return [_Curve.of(self.schedule.log_snr, one, alone) for one in self.wanted]

    def _placing(self) -> _Placing:
        return _Placing(self.schedule, self.wanted[0], self._curves)

    def errors(self) -> dict[str, float]:
        """The largest relative standard error over all noise levels, of each quantity."""
        found = zip(self.wanted, self._placing().each(), strict=True)
        return {one.what: float(error.max()) * one.tolerance for one, error in found}

    def ratio(self, rtol: float) -> float:
        """The largest of them over its tolerance times ``rtol``: at most 1 where nothing more is to be measured."""
        return float(self._placing().worst()[1]) / rtol

    def next_round(self, images: int) -> dict[int, int]:
        """Where the next images go, at most this many; by time."""
        placing = self._placing()
        more: Counter[int] = Counter()
        for done in range(0, images, HANDFUL):
            t = placing.knot_near(placing.worst()[0])
            number = min(HANDFUL, images - done)
            placing.place(t, number)
            more[t] += number
        return dict(sorted(more.items()))


class _Placing:
    """The knots with their images as they would be."""

    def __init__(self, schedule: NoiseSchedule, wanted: Wanted, curves: Sequence[_Curve]) -> None:
        self.log_snr, self.alone = schedule.log_snr, schedule.T if schedule.ends_at_zero else None
        self.knots = [t for t in wanted.times if t != self.alone]
        self.images = {t: float(n) for t, n in zip(wanted.times, wanted.moments.count.flatten(), strict=True)}
        self.asked = [t for t in Knots.spread(schedule, 2 * MOST).times if t != self.alone]
        self.gap = float(self.log_snr[self.asked[0]] - self.log_snr[self.asked[-1]]) / MOST
        self.curves = curves

    def each(self) -> list[Tensor]:
        """For each quantity the relative standard error over its tolerance: at all noise levels, then at T alone."""
        places = self.log_snr[self.knots]
        count = torch.tensor([self.images[t] for t in self.knots], dtype=torch.float64)
        found = []
        for curve in self.curves:
            unit = curve.unit[(places[:, None] - curve.places).abs().argmin(1)]
            error = SmoothCurve(places, places[:, None], unit / count, curve.theta).stderr(self.log_snr[self.asked])
            error = error * curve.scale
            if self.alone in self.images:
                error = torch.cat([error, torch.tensor([curve.alone / self.images[self.alone]]).sqrt()])
            found.append(error)
        return found

    def worst(self) -> tuple[int, Tensor]:
        """(the time, the error there)."""
        error, place = torch.stack(self.each()).amax(0).max(0)
        return [*self.asked, *([self.alone] if self.alone is not None else [])][int(place)], error

    def knot_near(self, t: int) -> int:
        """The nearest knot, or the time itself where the nearest is far."""
        if t == self.alone:
            return t
        distance, place = (self.log_snr[self.knots] - self.log_snr[t]).abs().min(0)
        return t if distance >= self.gap else self.knots[int(place)]

    def place(self, t: int, number: int) -> None:
        """Have more images at a knot, or a new one."""
        if t not in self.images:
            self.knots = sorted([*self.knots, t])
        self.images[t] = self.images.get(t, 0.0) + number


@dataclass(frozen=True, eq=False)
class _Curve:
    """What is known of one quantity.

    Attributes:
        places: (M,) log-SNR of the knots with a signal.
        unit: (M,) relative variance of one image there.
        theta: roughness.
        scale: of the standard error of the column that is known worst, over the tolerance.
        alone: relative variance of one image where there is no signal, over the square of the tolerance.
    """

    places: Tensor
    unit: Tensor
    theta: float
    scale: float
    alone: float

    @classmethod
    def of(cls, log_snr: Tensor, wanted: Wanted, alone: int | None) -> _Curve:
        times = torch.tensor(wanted.times)
        signal = torch.tensor([t != alone for t in wanted.times])
        moments, places = wanted.moments.at(signal.nonzero().flatten()), log_snr[times[signal]]
        through = LogCurve.through(places, moments)
        unit = through.curve.variance * moments.count.flatten()
        rest = wanted.moments.at((~signal).nonzero().flatten())
        of_rest = float((rest.spread() / rest.mean().square()).nan_to_num(nan=1.0).mean()) if len(rest.total) else 0.0
        return cls(
            places,
            unit,
            through.curve.theta,
            float(through.scale.max()) / wanted.tolerance,
            of_rest / wanted.tolerance**2,
        )
