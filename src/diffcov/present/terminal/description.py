"""What ``inspect`` shows of one part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

__all__ = ["part_table"]


def part_table(part: Mapping[str, Any]) -> Table:
    """A row a value."""
    table = Table(title=f"{part['kind']}: {part['path']}", title_justify="left", show_header=False, min_width=60)
    for key, value in part.items():
        if key not in ("kind", "path"):
            shown = ", ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, Mapping) else str(value)
            table.add_row(key, shown)
    return table
