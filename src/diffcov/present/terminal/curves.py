"""A variance table as a picture in the terminal: var_xs against small, large and the bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
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

__all__ = ["line_plot", "variance_curves"]

WIDTH, HEIGHT = 72, 16

BOUND = ("·", "dim")
COLOURS = ("yellow", "green", "bold magenta", "cyan", "blue")


def variance_curves(table: VarianceTable, schedule: NoiseSchedule, data: DataDescription) -> Text:
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
    title = "(var_xs - small) / (large - small) of a DDPM step, by t; bottom: small"
    return line_plot(times, shares, styles, title)


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


def line_plot(
    xs: Sequence[float], curves: Mapping[str, Sequence[float]], styles: Mapping[str, tuple[str, str]], title: str
) -> Text:
    """Curves over a common x, y on a log scale; later curves are drawn over earlier ones.

    Args:
        xs: increasing.
        curves: values by name, as long as ``xs``; those that are not positive are left out.
        styles: (mark, rich style) by name.
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
            mark, style = styles.get(cells.get((row, column), ""), (" ", ""))
            out.append(mark, style=style)
        out.append("\n")
    out.append(" " * 10 + "+" + "-" * WIDTH + "\n", style="dim")
    out.append(f"{'t =':>10} {xs[0]:<{WIDTH // 2}}{xs[-1]:>{WIDTH // 2}}\n", style="dim")
    out.append(" " * 11)
    for name in curves:
        mark, style = styles[name]
        out.append(f"{mark} {name}   ", style=style)
    return out
