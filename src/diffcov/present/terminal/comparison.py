"""What ``compare`` shows: a table a quantity and solver."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from diffcov.present.terminal.table import column, titled
from diffcov.present.terminal.view import guidance_note, view_note

__all__ = ["comparison_tables"]


def comparison_tables(document: Mapping[str, Any]) -> Iterator[Table]:
    """bits/dim and Frechet distance of each solver that has them.

    Args:
        document: what ``compare.json`` holds.
    """
    settings, real = document["settings"], document["real"]
    for solver in document["solvers"]:
        found = [cell for cell in document["cells"] if cell["solver"] == solver]
        if any(cell["bits_per_dim"] is not None for cell in found):
            title = f"bits/dim of {settings['images']} {settings['split']} images, {solver}"
            yield _cells(f"{title}{guidance_note(settings['view'])}; lower is better", found, "bits_per_dim")
        if any(cell["fid"] is not None for cell in found):
            label = f"@{settings['count']} {settings['features']}, {solver}{view_note(settings['view'])}"
            floor = None if real is None else f"{real['count']} real {real['split']} images have {real['fid']:.4g}"
            yield _cells(f"fid{label}; lower is better", found, "fid", floor)
    if document["sampler_cells"]:
        label = f"@{settings['count']} {settings['features']}, samplers{guidance_note(settings['view'])}"
        yield _cells(f"fid{label}; lower is better", document["sampler_cells"], "fid", rows="sampler")


def _cells(
    title: str, found: Sequence[Mapping[str, Any]], key: str, caption: str | None = None, rows: str = "covariance"
) -> Table:
    """One value of many cells: a row a covariance, a column a number of steps; the lowest of a column is marked."""
    steps = sorted({cell["steps"] for cell in found})
    names = list(dict.fromkeys(cell[rows] for cell in found))
    values = {(cell[rows], cell["steps"]): cell[key] for cell in found}
    table = titled(title, caption)
    table.add_column(rows)
    texts = []
    for K in steps:
        table.add_column(f"{K} steps", justify="right")
        own = [values.get((name, K)) for name in names]
        lowest = min((value for value in own if value is not None), default=None)
        shown = zip(own, column(own), strict=True)
        texts.append([f"[bold green]{text}[/]" if value == lowest is not None else text for value, text in shown])
    for name, *row in zip(names, *texts, strict=True):
        table.add_row(name, *row)
    return table
