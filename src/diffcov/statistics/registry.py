"""Statistics by name. Importing this file imports no torch, so that ``--help`` and completion stay fast.

To add a statistic: write ``statistics/yours.py`` with one subclass of ``Statistic``, and add its line here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from diffcov.named import named

if TYPE_CHECKING:
    from diffcov.statistics.base import Statistic

__all__ = ["STATISTICS", "load", "load_all", "of_kind"]

STATISTICS: dict[str, str] = {
    "table": "diffcov.statistics.table:VarianceTable",
    "spectrum": "diffcov.statistics.spectrum:Spectrum",
    "image-gaussian": "diffcov.statistics.image_gaussian:ImageGaussian",
    "matrices": "diffcov.statistics.matrices:ResidualMatrices",
}
"""Name -> "module:Class", in the order in which they are measured."""


def load(name: str) -> type[Statistic]:
    """The class behind a name; a KeyError for a name that is not registered."""
    found: type[Statistic] = named(STATISTICS[name])
    return found


def load_all() -> list[type[Statistic]]:
    """Every registered class, in the registry's order."""
    return [load(name) for name in STATISTICS]


def of_kind(kind: str) -> type[Statistic] | None:
    """The class whose files are of this kind; None if there is none."""
    return next((found for found in load_all() if found.kind == kind), None)
