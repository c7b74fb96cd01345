"""A variance table as a picture in the terminal: var_xs against small, large and the bounds.

Drawn by hand: plotext 6 brings a compiled kernel that needs a compiler where there is no wheel, plotext 5 is no longer
kept and lays its legend over the curves; what is needed here is a page long.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from diffcov.covariance.base import Covariance
from diffcov.covariance.ingredients import Ingredients
from diffcov.covariance.registry import COVARIANCES, load
from diffcov.data import DataDescription
from diffcov.denoiser.look import Look
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import NoAnswerError
from diffcov.nets.features import Features
from diffcov.statistics.table import VarianceTable

__all__ = ["LinePlot", "variance_curves"]

WIDEST, NARROWEST, HEIGHT = 100, 12, 16
"""Columns, at most and at least, and rows between the axes."""
MARGIN = 11
"""Columns left of them: a value, a space, the axis."""

BOUND = ("·", "dim")
COLOURS = ("yellow", "green", "bold magenta", "cyan", "blue")


def variance_curves(table: VarianceTable, schedule: NoiseSchedule, data: DataDescription) -> LinePlot:
    """Where var_xs lies between small and large, by t: (var_xs - small) / (large - small) = var_x0 / beta_bar_t.

    The share does not depend on the step: small is 0 and large is 1 at every t, whatever s. Every covariance that
    needs the table alone, or nothing, is drawn, marked by its first letter.
    """
    times = table.times
    curves = {"bound": [min(float(schedule.ratio[t]), data.var_bound) for t in times]}
    styles = {"bound": BOUND}
    for name in COVARIANCES:
        values = _values(load(name), Ingredients.of(schedule, data, table))
        if any(values):
            curves[name] = values
            styles[name] = (name[0], COLOURS[(len(styles) - 1) % len(COLOURS)])
    shares = {
        name: [y / float(schedule.beta_bar[t]) for t, y in zip(times, ys, strict=True)] for name, ys in curves.items()
    }
    return LinePlot(
        "Variance of a DDPM step between small (0) and large (1)", "t, from the image to noise",
        "(var_xs - small) / (large - small), log scale", times, shares, styles,
    )  # fmt: skip


def _values(kind: type[Covariance], ingredients: Ingredients) -> list[float]:
    """var_x0 at each time of the table; none of a covariance that reads more than this table."""
    table = ingredients[VarianceTable]
    if kind.reads_range or not set(kind.needs) <= {VarianceTable} or not set(kind.reads) <= table.tensors().keys():
        return []
    covariance = kind(ingredients)
    return [_value(covariance, t) for t in table.times]


def _value(covariance: Covariance, t: int) -> float:
    """var_x0 at t; 0, which is not drawn, where it has none (analytic at alpha_bar 0)."""
    try:
        return float(covariance.at(_nothing(t)).var)
    except NoAnswerError:
        return 0.0


def _nothing(t: int) -> Look:
    """A look at nothing, for covariances that are the same for every x_t."""
    zero = torch.zeros(1, 1, 1, 1)
    return Look(zero, t, zero, zero, zero, Features(zero, zero[0, 0]))


@dataclass(frozen=True)
class LinePlot:
    """Curves over a common x, y on a log scale, as wide as whoever prints it; later curves are drawn over earlier ones.

    Attributes:
        title: its first line.
        x, y: what the axes are.
        xs: increasing.
        curves: values by name, as long as ``xs``; those that are not positive are left out.
        styles: (mark, rich style) by name.
    """

    title: str
    x: str
    y: str
    xs: Sequence[float]
    curves: Mapping[str, Sequence[float]]
    styles: Mapping[str, tuple[str, str]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the plot as wide as there is room."""
        yield self.drawn(options.max_width)

    def drawn(self, width: int) -> Text:
        """The plot in so many columns, 24 at least."""
        values = [y for ys in self.curves.values() for y in ys if y > 0]
        if not values or len(self.xs) < 2:
            return Text(f"{self.title}: too few measured times to draw")
        low, high = math.log10(min(values)), math.log10(max(values)) + 1e-9
        columns = max(NARROWEST, min(WIDEST, width - MARGIN - 1))
        cells = self._cells(low, high, columns)
        out = Text(f"{self.title}\n", style="bold")
        out.append(f"y: {self.y}\n", style="not bold")
        for row in range(HEIGHT):
            label = 10 ** (high - (high - low) * row / (HEIGHT - 1))
            shown = f"{label:9.2e} |" if row % 4 == 0 or row == HEIGHT - 1 else " " * (MARGIN - 1) + "|"
            out.append(shown, style="not bold dim")
            for column in range(columns):
                mark, style = self.styles.get(cells.get((row, column), ""), (" ", ""))
                out.append(mark, style=style)
            out.append("\n")
        out.append(" " * (MARGIN - 1) + "+" + "-" * columns + "\n", style="not bold dim")
        out.append(" " * MARGIN + self._ends(columns) + "\n", style="not bold dim")
        out.append(f"x: {self.x}\n", style="not bold")
        return out.append_text(self._legend(width))

    def _legend(self, width: int) -> Text:
        """Mark and name of each curve, in as many lines as it takes."""
        out, used = Text(), 0
        for name in self.curves:
            mark, style = self.styles[name]
            entry = Text(f"{mark} {name}", style=style)
            gap = "" if not out else "   " if used + 3 + len(entry) <= width else "\n"
            used = len(entry) + (used + len(gap) if gap != "\n" else 0)
            out.append(gap).append_text(entry)
        return out

    def _cells(self, low: float, high: float, columns: int) -> dict[tuple[int, int], str]:
        """Which curve stands in which (row, column)."""
        first, last = self.xs[0], self.xs[-1]
        cells: dict[tuple[int, int], str] = {}
        for name, ys in self.curves.items():
            for x, y in zip(self.xs, ys, strict=True):
                if y > 0:
                    column = round((x - first) / (last - first) * (columns - 1))
                    cells[round((high - math.log10(y)) / (high - low) * (HEIGHT - 1)), column] = name
        return cells

    def _ends(self, columns: int) -> str:
        """The first and the last x below the axis, and the one in the middle where there is room."""
        first, last = f"{self.xs[0]:g}", f"{self.xs[-1]:g}"
        middle = f"{(self.xs[0] + self.xs[-1]) / 2:g}"
        room = columns - len(first) - len(last)
        return first + (middle if room > 3 * len(middle) else "").center(room) + last
