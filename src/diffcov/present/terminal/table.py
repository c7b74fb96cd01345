"""What all tables of the terminal have in common."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from diffcov.present.digits import decimals

__all__ = ["column", "titled"]

WIDEST = 110
"""Characters that a title may ask a table to be wide."""


def titled(title: str, caption: str | None = None) -> Table:
    """An empty table under a title that stands on one line."""
    widest = max(len(title), len(caption or ""))
    return Table(title=title, caption=caption, min_width=min(widest, WIDEST), title_justify="left")


def column(values: Sequence[float | None], digits: int = 4) -> list[str]:
    """Numbers with the same decimals, ``digits`` digits of the smallest; a dash for what is missing."""
    places = decimals(values, digits)
    return ["-" if value is None else f"{value:.{places}f}" for value in values]
