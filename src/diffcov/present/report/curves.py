"""Curves inside the page, or one sentence that says how to get them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from diffcov.present import plots
from diffcov.present.plots.panel import Panel
from diffcov.present.report.grid import Result
from diffcov.present.report.markup import Html, drawing, join, tag

__all__ = ["WITHOUT", "figure", "series_colours"]

WITHOUT = "The curves need matplotlib: pip install matplotlib, then run the comparison again."


def figure(result: Result, name: str, panels: Callable[[Result], Sequence[Panel]]) -> Html:
    """Panels side by side under one legend; nothing without matplotlib.

    Args:
        result: the comparison.
        name: unique in the page.
        panels: what to draw.
    """
    if not plots.available():
        return join()
    found = panels(result)
    if not found:
        return join()
    drawn = [drawing(plots.panel_svg(panel, f"{name}-{i}")) for i, panel in enumerate(found)]
    names = dict.fromkeys(line.name for panel in found for line in panel.lines)
    levels = dict.fromkeys(p.level[1] for p in found if p.level is not None and p.around is None)
    keys = [*(_key(one) for one in names), *(tag("li", tag("span", class_="dashes"), one) for one in levels)]
    return tag(
        "figure",
        tag("ul", *keys, class_="legend"),
        tag("div", *drawn, class_="panels" if len(found) > 1 else "panels alone"),
    )


def series_colours() -> Html:
    """The palette as variables of the style sheet, for light and for dark."""
    light, dark = (_variables(colour[i] for colour in plots.COLOURS) for i in (0, 1))
    return drawing(f":root{{{light}}}@media (prefers-color-scheme: dark){{:root{{{dark}}}}}")


def _variables(colours: Iterable[str]) -> str:
    return "".join(f"--series-{i}:{colour};" for i, colour in enumerate(colours))


def _key(name: str) -> Html:
    return tag("li", drawing(plots.key_svg(name)), name)
