"""Numbers in the page: with their error, or a dash for what is missing."""

from __future__ import annotations

from diffcov.present.digits import fixed
from diffcov.present.report.markup import Html, join, tag

__all__ = ["missing", "with_error"]


def with_error(value: float, stderr: float | None, places: int) -> Html:
    """``2.310 +- 0.021``, the second part small."""
    if stderr is None:
        return join(fixed(value, places))
    return join(fixed(value, places), tag("span", f" ± {fixed(stderr, places)}", class_="pm"))


def missing(why: str) -> Html:
    """An en dash that says why there is no number."""
    return tag("span", "\u2013", class_="none", title=why)
