"""What ``compare`` shows: a table a quantity and solver."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

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


def _cells(title: str, found: Sequence[Mapping[str, Any]], key: str, caption: str | None = None) -> Table:
    """One value of many cells: a row a covariance, a column a number of steps; the lowest of a column is marked."""
    steps = sorted({cell["steps"] for cell in found})
    names = list(dict.fromkeys(cell["covariance"] for cell in found))
    values = {(cell["covariance"], cell["steps"]): cell[key] for cell in found}
    lowest = {K: min((v for (_, k), v in values.items() if k == K and v is not None), default=None) for K in steps}
    table = Table(title=title, caption=caption)
    table.add_column("covariance")
    for K in steps:
        table.add_column(f"{K} steps", justify="right")
    for name in names:
        row = []
        for K in steps:
            value = values.get((name, K))
            text = "-" if value is None else f"{value:.4g}"
            row.append(f"[bold green]{text}[/]" if value is not None and value == lowest[K] else text)
        table.add_row(name, *row)
    return table
