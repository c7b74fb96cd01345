"""Samplers beside covariances: one table of distances, and their sheets."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from diffcov.present.digits import decimals, fixed
from diffcov.present.report.grid import Result, box, metric
from diffcov.present.report.markup import Html, join, tag
from diffcov.present.report.numbers import missing
from diffcov.present.report.sheets import picture

__all__ = ["sampler_parts"]


def sampler_parts(result: Result, sheets: Mapping[tuple[str, int], Tensor], levels: int) -> Html:
    """The Frechet distance of each sampler, its samples, and what each name stands for.

    Args:
        result: what ``compare.json`` holds.
        sheets: (sampler, steps) -> (N, C, H, W) uint8 grey levels.
        levels: number of grey levels.
    """
    cells = {(one["sampler"], one["steps"]): one for one in result["sampler_cells"]}
    known = {place: one["fid"] for place, one in cells.items() if one["fid"] is not None}
    places = decimals(list(known.values()), 3)
    best = {K: min((fid for (_, k), fid in known.items() if k == K), default=None) for K in result["steps"]}
    head = tag("tr", tag("th", "steps", scope="col"), *(tag("th", str(K), scope="col") for K in result["steps"]))
    numbers, pictures = [], []
    for name in result["samplers"]:
        told, shown = [], []
        for K in result["steps"]:
            cell, sheet = cells.get((name, K)), sheets.get((name, K))
            if cell is None or cell["fid"] is None:
                told.append(tag("td", missing(f"{name} was not measured at {K} steps")))
            else:
                won = "best" if cell["fid"] == best[K] else None
                title = f"{cell['summary']}; {cell['network_calls']} network calls an image"
                told.append(tag("td", fixed(cell["fid"], places), class_=won, title=title))
            if sheet is None:
                shown.append(tag("td", missing(f"no samples of {name} at {K} steps were kept")))
            else:
                alt = f"samples of {name}, {K} steps"
                shown.append(tag("td", picture(sheet, levels, len(cells) + len(result["cells"]), alt)))
        numbers.append(tag("tr", tag("th", name, scope="row"), *told))
        pictures.append(tag("tr", tag("th", name, scope="row"), *shown))
    means = [tag("li", f"{name}: {summary}") for name, summary in result["samplers"].items()]
    return join(
        tag("h3", f"{metric(result, 'fid')} by sampler"),
        box(join(tag("thead", head), tag("tbody", *numbers))),
        tag("details", tag("summary", "What each name stands for"), tag("ul", *means)),
        box(join(tag("thead", head), tag("tbody", *pictures)), "sheets"),
    )
