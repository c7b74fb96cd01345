"""Covariances by name. Importing this file imports no torch, so that ``--help`` and completion stay fast.

To add a covariance: write ``covariance/yours.py`` with one subclass of ``Covariance``, and add its line here.
"""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module
from typing import TYPE_CHECKING

from diffcov.covariance.needs import Need

if TYPE_CHECKING:
    from diffcov.covariance.base import Covariance

__all__ = ["COVARIANCES", "PREFERENCE", "heads", "load", "preferred"]

COVARIANCES: dict[str, str] = {
    "small": "diffcov.covariance.small:Small",
    "large": "diffcov.covariance.large:Large",
    "analytic": "diffcov.covariance.analytic:Analytic",
    "corrected": "diffcov.covariance.corrected:Corrected",
    "spectral": "diffcov.covariance.spectral:Spectral",
    "full": "diffcov.covariance.full:Full",
    "npr": "diffcov.covariance.npr:NPR",
    "sn": "diffcov.covariance.sn:SN",
    "ocm": "diffcov.covariance.ocm:OCM",
    "banded": "diffcov.covariance.banded:Banded",
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
    return tuple(name for name in COVARIANCES if Need.HEAD in load(name).needs)


def preferred(buildable: Collection[str]) -> str:
    """The first of :data:`PREFERENCE` that can be built."""
    return next(name for name in PREFERENCE if name in buildable)
