"""Covariances by name. Importing this file imports no torch, so that ``--help`` and completion stay fast.

To add a covariance: write ``covariance/yours.py`` with one subclass of ``Covariance``, and add its line here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from diffcov.covariance.needs import Needs

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

PREFERENCE: tuple[str, ...] = ("npr", "sn", "corrected", "analytic", "small")
"""What ``auto`` takes for sampling: the first of these whose needs are met.

NPR before SN although SN has the better published FIDs: NPR is right at the learned mean and nearly right after a
short fit, while SN is the difference of two learned numbers. On the embedded digits NPR won at 5, 10 and 50 steps.
"""


def load(name: str) -> type[Covariance]:
    """The class behind a name; a KeyError for a name that is not registered."""
    module, _, attribute = COVARIANCES[name].partition(":")
    found: type[Covariance] = getattr(import_module(module), attribute)
    return found


def heads() -> tuple[str, ...]:
    """Names of the covariances that need a head, in the registry's order (imports torch)."""
    return tuple(name for name in COVARIANCES if load(name).needs is Needs.HEAD)


def preferred(*, table: bool, heads: frozenset[str]) -> str:
    """The first of :data:`PREFERENCE` that a run with this table and these heads can build."""
    return next(
        name
        for name in PREFERENCE
        if {Needs.NOTHING: True, Needs.TABLE: table, Needs.HEAD: name in heads}[load(name).needs]
    )
