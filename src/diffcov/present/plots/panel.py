"""What one set of axes shows, as plain values: no drawing, no matplotlib."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Line", "Panel", "floats", "wide"]

WIDE = 6.0
"""Values that differ by more than this factor are drawn on a log axis."""


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

    def values(self) -> list[float]:
        """Every finite y of the curves and of the level."""
        level = [] if self.level is None else [self.level[0]]
        return [y for y in (*(y for line in self.lines for y in line.ys), *level) if math.isfinite(y)]


def floats(values: Iterable[float | None]) -> tuple[float, ...]:
    """Numbers of a JSON document, null as NaN."""
    return tuple(math.nan if value is None else float(value) for value in values)


def wide(values: Sequence[float]) -> bool:
    """Whether the finite values are all positive and span more than :data:`WIDE`."""
    finite = [value for value in values if math.isfinite(value)]
    return bool(finite) and min(finite) > 0 and max(finite) / min(finite) > WIDE
