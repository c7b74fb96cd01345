"""What one set of axes shows, as plain values: no drawing, no matplotlib."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import quantiles

__all__ = ["Line", "Panel", "bulk", "floats", "wide"]

WIDE = 6.0
"""Values that differ by more than this factor are drawn on a log axis."""
FAR = 3.0
"""Distances between the quartiles that a value may lie beyond them; further out it is an outlier."""
FLAT = 1 / 3
"""Share of an axis: where the others fill less of it, outliers are left outside."""
FEW = 1 / 4
"""Share of the values that may be left outside, at most."""
CURVES = 1 / 3
"""Share of the curves that these may belong to, at most."""


@dataclass(frozen=True)
class Line:
    """One curve.

    Attributes:
        name: the covariance, or what else it is; decides colour and marker.
        xs: increasing.
        ys: as many; NaN where there is no value.
        stderr: standard errors of ``ys``, or empty.
        dashed: a bound, drawn thin and without markers.
    """

    name: str
    xs: tuple[float, ...]
    ys: tuple[float, ...]
    stderr: tuple[float, ...] = ()
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    """One set of axes.

    Attributes:
        title: what is shown.
        x_label: with its unit.
        y_label: with its unit.
        lines: drawn in this order.
        level: a horizontal line to compare with, and its name.
        ticks: where the x axis is labelled, if not left to chance.
        log_x: log axis.
        log_y: log axis.
        around: the y axis is symmetric (in ratio) about this value.
        limits: the least and the largest y that the axis is made for; None: for all.
    """

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    level: tuple[float, str] | None = None
    ticks: tuple[float, ...] = ()
    log_x: bool = False
    log_y: bool = False
    around: float | None = None
    limits: tuple[float, float] | None = None

    def values(self) -> list[float]:
        """Every finite y of the curves and of the level."""
        level = [] if self.level is None else [self.level[0]]
        return [y for y in (*(y for line in self.lines for y in line.ys), *level) if math.isfinite(y)]

    def robust(self) -> Panel:
        """The same panel with an axis that the far values of a few curves do not flatten: see :func:`bulk`.

        What more than a third of the curves do is no outlier, and stays inside.
        """
        kept = bulk(self.values())
        if kept is None:
            return self
        found = replace(self, limits=kept, log_y=self.around is not None or wide(kept))
        far = {line.name for line, _, _ in found.outside()}
        return found if len(far) <= CURVES * len(self.lines) else self

    def outside(self) -> list[tuple[Line, float, float]]:
        """The points that the axis leaves outside: the curve, x and y."""
        if self.limits is None:
            return []
        low, high = self.limits
        return [
            (line, x, y)
            for line in self.lines
            for x, y in zip(line.xs, line.ys, strict=True)
            if math.isfinite(y) and not low <= y <= high
        ]


def bulk(values: Sequence[float]) -> tuple[float, float] | None:
    """The range of finite values without those that would flatten all others; None where there are no such.

    An outlier lies further from the quartiles than three times their distance, in ratio where all values are positive.
    Outliers are left outside if the others would fill less than a third of an axis with them, and if they are at most a
    quarter of all.
    """
    positive = bool(values) and min(values) > 0
    scaled = sorted(math.log(value) if positive else value for value in values)
    if len(scaled) < 4:
        return None
    lower, _, upper = quantiles(scaled, n=4, method="inclusive")
    reach = FAR * (upper - lower)
    kept = [value for value in scaled if lower - reach <= value <= upper + reach]
    alone = len(scaled) - len(kept)
    if not 0 < alone <= FEW * len(scaled) or kept[-1] - kept[0] >= FLAT * (scaled[-1] - scaled[0]):
        return None
    inside = [value for value in values if kept[0] <= (math.log(value) if positive else value) <= kept[-1]]
    return min(inside), max(inside)


def floats(values: Iterable[float | None]) -> tuple[float, ...]:
    """Numbers of a JSON document, null as NaN."""
    return tuple(math.nan if value is None else float(value) for value in values)


def wide(values: Sequence[float]) -> bool:
    """Whether the finite values are all positive and span more than :data:`WIDE`."""
    finite = [value for value in values if math.isfinite(value)]
    return bool(finite) and min(finite) > 0 and max(finite) / min(finite) > WIDE
