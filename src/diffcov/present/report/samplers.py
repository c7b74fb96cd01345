"""Samplers beside covariances: one table of distances, and their sheets."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from diffcov.present.digits import MOST, bearable
from diffcov.present.report.grid import Result, box, metric, ranking, steps_head
from diffcov.present.report.markup import Html, join, tag
from diffcov.present.report.numbers import missing, with_error
from diffcov.present.report.sheets import sheets_table

__all__ = ["sampler_parts"]


def sampler_parts(
    result: Result, sheets: Mapping[tuple[str, int], Tensor], levels: int, real: Tensor | None = None
) -> Html:
    """The Frechet distance of each sampler, its samples, and what each name stands for.

    Args:
        result: what ``compare.json`` holds.
        sheets: (sampler, steps) -> (N, C, H, W) uint8 grey levels.
        levels: number of grey levels.
        real: (N, C, H, W) uint8 grey levels of real images, to be shown above; None for no such row.
    """
    cells = {(one["sampler"], one["steps"]): one for one in result["sampler_cells"]}
    known = [one for one in cells.values() if one["fid"] is not None]
    places = bearable((one["fid_stderr"] for one in known), (one["fid"] for one in known), MOST)
    best = {K: found["level"] for K in result["steps"] if (found := ranking(result, K, "samplers"))}
    numbers = []
    for name in result["samplers"]:
        told = []
        for K in result["steps"]:
            cell = cells.get((name, K))
            if cell is None or cell["fid"] is None:
                told.append(join(tag("td", missing(f"{name} was not measured at {K} steps")), tag("td")))
            else:
                won = "best" if name in best.get(K, ()) else None
                title = f"{cell['summary']}; {cell['network_calls']} network calls an image"
                told.append(with_error(cell["fid"], cell["fid_stderr"], places, won, title))
        numbers.append(tag("tr", tag("th", name, scope="row"), *told))
    rows = {name: [sheets.get((name, K)) for K in result["steps"]] for name in result["samplers"]}

    def absent(name: str, K: int) -> Html:
        return missing(f"no samples of {name} at {K} steps were kept")

    means = [tag("li", f"{name}: {summary}") for name, summary in result["samplers"].items()]
    return join(
        tag("h3", f"{metric(result, 'fid')} by sampler"),
        box(join(steps_head(result), tag("tbody", *numbers))),
        tag("details", tag("summary", "What each name stands for"), tag("ul", *means)),
        sheets_table(result, rows, "samples of {name}, {K} steps", absent, levels, real),
    )
