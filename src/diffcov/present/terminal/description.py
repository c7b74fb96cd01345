"""Every value that ``inspect`` knows of one part, a line each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from diffcov.store.paths import shown

__all__ = ["part_lines"]

LONG = 200
"""Characters from which sentences stand on lines of their own."""


def part_lines(part: Mapping[str, Any]) -> str:
    """A line a value, under what the part is; what is nested deeper has lines of its own, records are counted.

    Without boxes and without padding at the ends of lines, so that a pipe gets what a person reads.
    """
    rows = [row for key, value in part.items() if key not in ("kind", "path") for row in _rows(key, value)]
    width = min(max((len(name) for name, _ in rows), default=0), 24)
    lines = [shown(f"{part['kind']}: {part['path']}"), *(f"  {name:<{width}}  {text}".rstrip() for name, text in rows)]
    return "\n".join(lines)


def _rows(key: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        flat = ", ".join(f"{name}={inner}" for name, inner in value.items())
        sentences = len(flat) > LONG and all(isinstance(inner, str) for inner in value.values())
        if sentences or any(isinstance(inner, Mapping) or _is_numbers(inner) for inner in value.values()):
            for name, inner in value.items():
                yield from _rows(f"{key}, {name}", inner)
        else:
            yield key, shown(flat)
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
