"""Numbers as text: as many decimals in a table as its values bear."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import median

__all__ = ["MINUS", "MOST", "bearable", "decimals", "fixed", "percent", "significant", "with_stderr"]

MINUS = "\u2212"
MOST = 6
"""Decimals of any number, at most."""


def decimals(values: Iterable[float | None], digits: int) -> int:
    """How many decimals show ``digits`` digits of the smallest value that is not zero (0..6)."""
    sizes = [abs(value) for value in values if value]
    return _clamp(digits - 1 - math.floor(math.log10(min(sizes)))) if sizes else 0


def bearable(stderrs: Iterable[float | None], values: Iterable[float | None], most: int = 3) -> int:
    """How many decimals the values bear: two digits of a typical standard error, and no more than ``most``."""
    errors = [error for error in stderrs if error]
    return min(_clamp(1 - math.floor(math.log10(median(errors)))), most) if errors else decimals(values, 3)


def fixed(value: float, places: int) -> str:
    """A number with that many decimals and a true minus sign; zero has none."""
    text = f"{value:.{places}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", MINUS)


def significant(value: float, digits: int = 3) -> str:
    """A number with about that many digits."""
    return fixed(value, decimals([value], digits))


def with_stderr(value: float, stderr: float | None) -> str:
    """A number in a sentence with its standard error, ``2.31 ± 0.02``, to two digits of the error."""
    if not stderr:
        return significant(value)
    places = decimals([stderr], 2)
    return f"{fixed(value, places)} ± {fixed(stderr, places)}"


def percent(value: float) -> str:
    """A share as whole percents, or with one decimal below ten."""
    return f"{100 * value:.{1 if 0 < value < 0.0995 else 0}f} %"


def _clamp(places: int) -> int:
    return min(max(places, 0), MOST)
