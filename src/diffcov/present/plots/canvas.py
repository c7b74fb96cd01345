"""Drawing panels with matplotlib, which is imported here and nowhere above the functions."""

from __future__ import annotations

import importlib
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from diffcov.errors import InputError
from diffcov.present.plots.palette import COLOURS, INK, Mark, mark_of
from diffcov.present.plots.panel import Line, Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["available", "figure_of", "png_of", "style"]

SIZE = (4.6, 3.3)
"""Inches of one panel; at 72 points an inch this is close to a phone's width, so that text keeps its size there."""
DPI = 160
FEW = 30
"""Curves with more points than this have markers at a third as many, and a band in place of error bars."""

NAMED = 2
"""Points outside of an axis that its title names."""
MARGIN = 0.08
"""Of the range that is shown, above and below it, where points lie outside."""
FLAT = 1.25
"""Half the height of a log axis on which all values are the same, as a factor."""

STYLE: dict[str, Any] = {
    "font.size": 10.5,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.labelsize": 10.5,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.12,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "lines.markersize": 5,
    "legend.frameon": False,
    "axes.unicode_minus": False,
    "text.parse_math": False,
}


def available() -> bool:
    """Whether matplotlib can be imported."""
    try:
        importlib.import_module("matplotlib")
    except ImportError:
        return False
    return True


@contextmanager
def style(extra: Mapping[str, Any] | None = None) -> Iterator[None]:
    """matplotlib with our settings (and ``extra``), whatever the user's own are, while the block runs.

    Raises:
        InputError: matplotlib is not installed.
    """
    try:
        import matplotlib
        import matplotlib.style
    except ImportError as error:
        raise InputError("curves need matplotlib, which is not installed; run: pip install matplotlib") from error
    with matplotlib.style.context(["default", {**STYLE, **(extra or {})}]):
        yield


def figure_of(panels: Sequence[Panel], columns: int, legend: bool) -> Figure:
    """Panels in rows; inside :func:`style`."""
    from matplotlib.figure import Figure

    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    extra = 0.5 if legend else 0.0
    figure = Figure(figsize=(SIZE[0] * columns, SIZE[1] * rows + extra), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    handles: dict[str, Any] = {}
    for panel, one in zip(panels, axes, strict=False):
        handles |= _draw(one, panel)
    for empty in axes[len(panels) :]:
        empty.set_axis_off()
    if legend:
        figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=min(len(handles), 8))
    return figure


def png_of(panels: Sequence[Panel], columns: int) -> bytes:
    """Panels with one legend as a PNG on white (InputError as above)."""
    buffer = io.BytesIO()
    with style():
        figure_of(panels, columns, legend=True).savefig(buffer, format="png", dpi=DPI, metadata={"Software": "diffcov"})
    return buffer.getvalue()


def _draw(axes: Axes, panel: Panel) -> dict[str, Any]:
    handles: dict[str, Any] = {}
    if panel.level is not None:
        level, name = panel.level
        handle = axes.axhline(level, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), alpha=0.75)
        if panel.around is None:
            handles[name] = handle
    for line in panel.lines:
        handles[line.name] = _draw_line(axes, line, panel.log_y)
    axes.set_title("\n".join([panel.title, *_outside(panel)]))
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    _scale_x(axes, panel)
    _scale_y(axes, panel)
    _mark_outside(axes, panel)
    return handles


def _mark_outside(axes: Axes, panel: Panel) -> None:
    """An arrowhead at the edge for each point outside, below one another where they would lie on one another."""
    taken: dict[tuple[float, bool], int] = {}
    for line, x, y in panel.outside():
        above = panel.limits is not None and y > panel.limits[1]
        before = taken.get((x, above), 0)
        taken[x, above] = before + 1
        place = 0.98 - 0.06 * before if above else 0.02 + 0.06 * before
        axes.plot(
            [x], [place], marker="^" if above else "v", color=mark_of(line.name).colour, markersize=6,
            markeredgewidth=0, transform=axes.get_xaxis_transform(), clip_on=False,
        )  # fmt: skip


def _outside(panel: Panel) -> list[str]:
    """One line that names the points that the axis leaves outside; none where there are none."""
    found = [f"{line.name} {y:.3g} at {x:g}" for line, x, y in panel.outside()]
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return [f"outside: {', '.join(found[:NAMED])}{more}"] if found else []


def _draw_line(axes: Axes, line: Line, log_y: bool) -> Any:
    ys = [y if y > 0 or not log_y else math.nan for y in line.ys]
    if line.dashed:
        dashes = (0, (1, 1.5)) if line.name.startswith("range") else (0, (4, 3))
        return axes.plot(line.xs, ys, linestyle=dashes, color=INK, linewidth=0.9, alpha=0.75)[0]
    mark = mark_of(line.name)
    if line.stderr and len(line.xs) > FEW:
        low = [y - error if y - error > 0 or not log_y else y for y, error in zip(ys, line.stderr, strict=True)]
        high = [y + error for y, error in zip(ys, line.stderr, strict=True)]
        axes.fill_between(line.xs, low, high, color=mark.colour, alpha=0.25, linewidth=0)
    elif line.stderr:
        bars = [0.0 if math.isnan(error) else error for error in line.stderr]
        axes.errorbar(line.xs, ys, yerr=bars, fmt="none", ecolor=mark.colour, elinewidth=1.0)
    every = max(1, len(line.xs) // (FEW // 3))
    return axes.plot(
        line.xs, ys, color=mark.colour, marker=mark.marker, markeredgewidth=0, markevery=(_first(mark, every), every)
    )[0]


def _first(mark: Mark, every: int) -> int:
    """Curves that lie on one another show their markers at different points."""
    return mark.place * every // len(COLOURS)


def _scale_x(axes: Axes, panel: Panel) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    if panel.log_x:
        axes.set_xscale("log")
    if panel.ticks:
        axes.xaxis.set_major_locator(FixedLocator(panel.ticks))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))


def _scale_y(axes: Axes, panel: Panel) -> None:
    """On a log axis: labels at 1, 2, 5 where the range is short, at powers of ten where it is long."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    values = [y for y in panel.values() if y > 0 or not panel.log_y]
    if panel.limits is not None:
        values = [y for y in values if panel.limits[0] <= y <= panel.limits[1]]
    if not values:
        return
    low, high = min(values), max(values)
    if not panel.log_y:
        if panel.limits is not None:
            margin = MARGIN * (high - low) or 1.0
            axes.set_ylim(low - margin, high + margin)
        return
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    if panel.limits is not None:
        reach = (high / low) ** MARGIN if high > low else FLAT  # an axis of one value has a height all the same
        axes.set_ylim(low / reach, high * reach)
    if panel.around is not None:
        reach = max(high / panel.around, panel.around / low, 1.05) ** 1.1
        low, high = panel.around / reach, panel.around * reach
        axes.set_ylim(low, high)
    if high / low < 8:
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    else:
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < 300 else (1.0,), numticks=9))
