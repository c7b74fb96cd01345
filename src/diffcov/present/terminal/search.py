"""What ``trajectory`` shows."""

from __future__ import annotations

from rich.table import Table

from diffcov.present.terminal.table import titled
from diffcov.study.search import Search

__all__ = ["search_table"]


def search_table(search: Search) -> Table:
    """The bound of even and of optimal times, and the latter, a row a number of steps."""
    count = search.config["images"]["count"]
    table = titled(f"bits/dim of {search.covariance} on {count} images, DDPM; lower is better")
    for title in ("steps", "even", "optimal"):
        table.add_column(title, justify="right")
    table.add_column("optimal times")
    for row in search.rows():
        times = row["times"]
        shown = ", ".join(map(str, times if len(times) <= 10 else [*times[:7], "..", *times[-2:]]))
        even = "-" if row["even"] is None else f"{row['even']:.3f}"
        table.add_row(str(row["steps"]), even, f"{row['bits_per_dim']:.3f}", shown)
    return table
