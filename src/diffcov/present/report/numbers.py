"""Numbers in the page: with their error, or a dash for what is missing."""

from __future__ import annotations

from diffcov.present.digits import fixed
from diffcov.present.report.markup import Html, join, tag

__all__ = ["missing", "with_error"]


def with_error(
    value: float, stderr: float | None, places: int, class_: str | None = None, title: str | None = None
) -> Html:
    """Two entries of a row, a number and its standard error; the second is empty where no error is known."""
    error = tag("td", class_="pm") if stderr is None else tag("td", fixed(stderr, places), class_="pm")
    return join(tag("td", fixed(value, places), class_=class_, title=title), error)


def missing(why: str) -> Html:
    """An en dash that says why there is no number."""
    return tag("span", "\u2013", class_="none", title=why)
