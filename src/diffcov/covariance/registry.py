"""Covariances by name. Importing this file imports no torch, so that ``--help`` and completion stay fast.

To add a covariance: write ``covariance/yours.py`` with one subclass of ``Covariance``, and add its line here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffcov.covariance.base import Covariance

__all__ = ["COVARIANCES", "PREFERENCE", "heads", "load", "preferred"]

COVARIANCES: dict[str, str] = {
    "small": "diffcov.covariance.small:Small",
    "large": "diffcov.covariance.large:Large",
    "analytic": "diffcov.covariance.analytic:Analytic",
    "corrected": "diffcov.covariance.corrected:Corrected",
    "npr": "diffcov.covariance.npr:NPR",
    "sn": "diffcov.covariance.sn:SN",
}
"""Name -> "module:Class"."""

PREFERENCE: tuple[str, ...] = ("sn", "npr", "corrected", "analytic", "small")
"""What ``auto`` takes for sampling: the first of these whose needs are met.

The order is that of the published FIDs at few steps (arXiv 2206.07309): SN, then NPR, then a scalar.
"""


def load(name: str) -> type[Covariance]:
    """The class behind a name; a KeyError for a name that is not registered."""
    module, _, attribute = COVARIANCES[name].partition(":")
    found: type[Covariance] = getattr(import_module(module), attribute)
    return found


def heads() -> tuple[str, ...]:
    """Names of the covariances that need a head, in the registry's order (imports torch)."""
    return tuple(name for name in COVARIANCES if load(name).needs.value == "head")


def preferred(*, table: bool, heads: frozenset[str]) -> str:
    """The first of :data:`PREFERENCE` that a run with this table and these heads can build."""
    held = {"nothing": True, "table": table}
    return next(n for n in PREFERENCE if held.get(load(n).needs.value, n in heads))
