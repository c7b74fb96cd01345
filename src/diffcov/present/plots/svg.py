"""Panels as SVG for the inside of an HTML page: they take its text colour, its fonts and its dark mode."""

from __future__ import annotations

import io
import re
from html import escape

import numpy as np

from diffcov.present.plots.canvas import figure_of, style
from diffcov.present.plots.palette import COLOURS, INK, mark_of
from diffcov.present.plots.panel import Panel

__all__ = ["key_svg", "panel_svg"]

NOTHING = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def panel_svg(panel: Panel, name: str) -> str:
    """One ``<svg>`` element, the same for the same input.

    Colours of the palette become ``var(--series-N)``, which the page sets for light and dark; ink becomes
    ``currentColor``.

    Args:
        panel: what to draw.
        name: made of letters, digits and ``-``; each id in the drawing begins with it.

    Raises:
        InputError: matplotlib is not installed.
    """
    buffer = io.StringIO()
    with style({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure_of([panel], 1, legend=False).savefig(buffer, format="svg", transparent=True, metadata=NOTHING)
    return _inline(buffer.getvalue(), name, panel.title)


def key_svg(name: str) -> str:
    """The mark of a covariance as a small ``<svg>``, for legends in text. InputError as above."""
    with style():
        from matplotlib.markers import MarkerStyle

        mark = mark_of(name)
        found = MarkerStyle(mark.marker)
        outline = found.get_path().transformed(found.get_transform())
        shape = [np.asarray(polygon).tolist() for polygon in outline.to_polygons()]
    path = "".join("M" + "L".join(f"{9 + 6.5 * x:.1f} {6 - 6.5 * y:.1f}" for x, y in part) + "Z" for part in shape)
    colour = _variable(mark.place)
    return (
        '<svg class="key" viewBox="0 0 18 12" aria-hidden="true">'
        f'<path d="M0 6H18" style="stroke: {colour}; stroke-width: 1.6"/>'
        f'<path d="{path}" style="fill: {colour}"/></svg>'
    )


def _variable(place: int) -> str:
    return f"var(--series-{place})"


def _inline(svg: str, name: str, title: str) -> str:
    """Without prolog, metadata and style sheet (which would reach the whole page), ids made the page's own."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    box = re.search(r'viewBox="[^"]*"', svg)
    start = f'<svg class="plot" role="img" aria-label="{escape(title)}" {box[0] if box else ""}>'
    svg = start + svg[svg.index(">") + 1 :]
    used = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', svg))
    kept = {one for pair in used for one in pair if one}
    svg = re.sub(r' id="([^"]+)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in kept else "", svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", svg)
    svg = svg.replace(INK, "currentColor")
    for place, (light, _) in enumerate(COLOURS):
        svg = svg.replace(light, _variable(place))
    svg = re.sub(r"font-family: [^;]*; ", "", svg)
    return re.sub(r"\s*\n\s*", " ", svg).replace("> <", "><")
