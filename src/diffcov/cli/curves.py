"""A variance table as a picture in the terminal: var_xs against small, large and the bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.text import Text

from diffcov.covariance.table import VarianceTable
from diffcov.data import DataDescription
from diffcov.schedule import NoiseSchedule

__all__ = ["line_plot", "variance_curves"]

WIDTH, HEIGHT = 72, 16

STYLES = {
    "bound": ("·", "dim"),
    "large": ("+", "yellow"),
    "analytic": ("a", "green"),
    "corrected": ("c", "bold magenta"),
}


def variance_curves(table: VarianceTable, schedule: NoiseSchedule, data: DataDescription) -> Text:
    """Where var_xs lies between small and large, by t: (var_xs - small) / (large - small) = var_x0 / beta_bar_t.

    The share does not depend on the step: small is 0 and large is 1 at every t, whatever s.
    """
    times = table.measured
    curves: dict[str, list[float]] = {name: [] for name in STYLES}
    for t in times:
        ratio, beta_bar = float(schedule.ratio[t]), float(schedule.beta_bar[t])
        bound = min(ratio, data.var_bound)
        var_x0 = {
            "bound": bound,
            "large": beta_bar,
            "analytic": ratio * (1 - table.value(table.eps_hat_moments, t)),
            "corrected": ratio * table.value(table.error_moments, t),
        }
        for name, value in var_x0.items():
            curves[name].append(min(max(value, 0.0), bound) / beta_bar)
    return line_plot(times, curves, "(var_xs - small) / (large - small) of a DDPM step, by t; bottom: small")


def line_plot(xs: Sequence[float], curves: Mapping[str, Sequence[float]], title: str) -> Text:
    """Curves over a common x, y on a log scale; later curves are drawn over earlier ones.

    Args:
        xs: increasing.
        curves: positive values by name (a name of :data:`STYLES`), as long as ``xs``.
        title: first line.
    """
    values = [y for ys in curves.values() for y in ys if y > 0]
    if not values or len(xs) < 2:
        return Text(f"{title}: too few measured times to draw")
    low, high = math.log10(min(values)), math.log10(max(values)) + 1e-9
    cells: dict[tuple[int, int], str] = {}
    for name in curves:
        for x, y in zip(xs, curves[name], strict=True):
            if y > 0:
                column = round((x - xs[0]) / (xs[-1] - xs[0]) * (WIDTH - 1))
                cells[round((high - math.log10(y)) / (high - low) * (HEIGHT - 1)), column] = name
    out = Text(title + "\n", style="bold")
    for row in range(HEIGHT):
        label = 10 ** (high - (high - low) * row / (HEIGHT - 1))
        out.append(f"{label:9.2e} |" if row % 4 == 0 or row == HEIGHT - 1 else " " * 10 + "|", style="dim")
        for column in range(WIDTH):
            mark, style = STYLES.get(cells.get((row, column), ""), (" ", ""))
            out.append(mark, style=style)
        out.append("\n")
    out.append(" " * 10 + "+" + "-" * WIDTH + "\n", style="dim")
    out.append(f"{'t =':>10} {xs[0]:<{WIDTH // 2}}{xs[-1]:>{WIDTH // 2}}\n", style="dim")
    out.append(" " * 11)
    for name in curves:
        mark, style = STYLES[name]
        out.append(f"{mark} {name}   ", style=style)
    return out
