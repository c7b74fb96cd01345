"""What ``inspect`` shows of one part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

from diffcov.store.paths import shown

__all__ = ["part_table"]

LONG = 200
"""Characters from which sentences stand on rows of their own."""


def part_table(part: Mapping[str, Any]) -> Table:
    """A row a value; what is nested deeper than once has rows of its own, and lists of records are counted."""
    table = Table(title=f"{part['kind']}: {part['path']}", title_justify="left", show_header=False, min_width=60)
    for key, value in part.items():
        if key not in ("kind", "path"):
            for name, shown in _rows(key, value):
                table.add_row(name, shown)
    return table


def _rows(key: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        flat = ", ".join(f"{name}={inner}" for name, inner in value.items())
        sentences = len(flat) > LONG and all(isinstance(inner, str) for inner in value.values())
        if sentences or any(isinstance(inner, Mapping) or _is_numbers(inner) for inner in value.values()):
            for name, inner in value.items():
                yield from _rows(f"{key}, {name}", inner)
        else:
            yield key, flat
    elif isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
        yield key, f"{len(value)} (--json has them)"
    elif _is_numbers(value):
        yield key, ", ".join(f"{one:.4g}" for one in value)
    elif isinstance(value, list):
        yield key, _cut(", ".join(shown(str(one)) for one in value)) or "none"
    else:
        yield key, shown(str(value))


def _cut(text: str) -> str:
    """The beginning of a long row."""
    return text if len(text) <= LONG else f"{text[:LONG].rpartition(', ')[0]}, … (--json has all)"


def _is_numbers(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, float) for one in value)
