"""What ``compare`` shows: a table a quantity and solver."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from diffcov.present.digits import MOST, bearable
from diffcov.present.report.grid import level, ranking
from diffcov.present.terminal.table import titled
from diffcov.present.terminal.view import guidance_note, view_note

__all__ = ["comparison_tables"]


def comparison_tables(document: Mapping[str, Any]) -> Iterator[Table]:
    """bits/dim and Frechet distance of each solver that has them, and of samplers, each with its standard error.

    Args:
        document: what ``compare.json`` holds.
    """
    settings, real, steps = document["settings"], document["real"], document["steps"]
    for solver in document["solvers"]:
        found = [cell for cell in document["cells"] if cell["solver"] == solver]
        best = {
            key: {K: [cell["covariance"] for cell in level(document, solver, K, key)] for K in steps}
            for key in ("bits_per_dim", "fid")
        }
        if any(cell["bits_per_dim"] is not None for cell in found):
            title = f"bits/dim of {settings['images']} {settings['split']} images, {solver}"
            title += f"{guidance_note(settings['view'])}; lower is better"
            yield _cells(title, found, "bits_per_dim", best["bits_per_dim"])
        if any(cell["fid"] is not None for cell in found):
            label = f"@{settings['count']} {settings['features']}, {solver}{view_note(settings['view'])}"
            floor = None if real is None else f"{real['count']} real {real['split']} images have {real['fid']:.4g}"
            yield _cells(f"fid{label}; lower is better", found, "fid", best["fid"], floor)
    if document["sampler_cells"]:
        label = f"@{settings['count']} {settings['features']}, samplers{guidance_note(settings['view'])}"
        known = {K: one["level"] for K in steps if (one := ranking(document, K, "samplers"))}
        yield _cells(f"fid{label}; lower is better", document["sampler_cells"], "fid", known, rows="sampler")


def _cells(
    title: str,
    found: Sequence[Mapping[str, Any]],
    key: str,
    best: Mapping[int, Sequence[str]],
    caption: str | None = None,
    rows: str = "covariance",
) -> Table:
    """One value of many cells and its error: a row a covariance, two columns a number of steps.

    Marked are the lowest of a column and all that cannot be told from it.
    """
    names = list(dict.fromkeys(cell[rows] for cell in found))
    cells = {(cell[rows], cell["steps"]): cell for cell in found}
    table = titled(title, caption)
    table.add_column(rows)
    columns = []
    for K in sorted({cell["steps"] for cell in found}):
        table.add_column(f"{K} steps", justify="right")
        table.add_column("+-", justify="right")
        own = [cells.get((name, K), {}) for name in names]
        values, errors = ([cell.get(one) for cell in own] for one in (key, f"{key}_stderr"))
        places = bearable(errors, values, MOST)
        texts = [_shown(value, places) for value in values]
        marked = [
            f"[bold green]{text}[/]" if name in best.get(K, ()) else text
            for name, text in zip(names, texts, strict=True)
        ]
        columns += [marked, [_shown(error, places) for error in errors]]
    for name, *row in zip(names, *columns, strict=True):
        table.add_row(name, *row)
    return table


def _shown(value: float | None, places: int) -> str:
    return "-" if value is None else f"{value:.{places}f}"
