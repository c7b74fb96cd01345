"""What ``tune`` shows: the finalists of each number of steps, beside the best of the literature."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table

from diffcov.present.terminal.table import titled

__all__ = ["tuned_tables"]


def tuned_tables(document: dict[str, Any]) -> Iterator[Table]:
    """One table for each number of steps, nearest first.

    Args:
        document: of ``Tuned.as_dict``.
    """
    for K, one in document["recipes"].items():
        seen = one["evidence"]
        table = titled(f"{K} steps: distance in {seen['features']} features, on fresh noise; {seen['tried']} tried")
        table.add_column("sampler")
        table.add_column("distance", justify="right")
        table.add_column("")
        for finalist in sorted(seen["finalists"], key=lambda found: float(found["distance"])):
            chosen = "chosen" if finalist["summary"] == one["summary"] else ""
            remark = chosen or ("" if finalist["finalist"] else "literature")
            table.add_row(finalist["summary"], f"{finalist['distance']:.4g} +- {finalist['stderr']:.2g}", remark)
        yield table
