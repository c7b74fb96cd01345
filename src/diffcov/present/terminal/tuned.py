"""What ``tune`` shows: the finalists of each number of steps, beside the best of the literature."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table

from diffcov.present.terminal.table import titled

__all__ = ["tuned_tables"]


def tuned_tables(document: dict[str, Any]) -> Iterator[Table]:
    """One table for each number of steps, nearest first, as they are told.

    Args:
        document: of ``Tuned.as_dict``.
    """
    for K, one in document["recipes"].items():
        seen = one["evidence"]
        spent = f"{seen['tried']} tried with {seen['samples_drawn']} samples"
        table = titled(f"{K} steps: distance in {seen['features']} features, on fresh noise; {spent}")
        table.add_column("sampler")
        table.add_column("distance", justify="right")
        table.add_column("")
        for finalist in seen["finalists"]:
            chosen = "chosen" if finalist["recipe"] == one["recipe"] else ""
            remark = chosen or ("" if finalist["finalist"] else "literature")
            table.add_row(finalist["summary"], f"{finalist['distance']:.4g} +- {finalist['stderr']:.2g}", remark)
        yield table
