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

PREFERENCE: tuple[str, ...] = (
    "full", "banded", "spectral", "npr", "sn", "ocm", "corrected", "analytic", "small"
)  # fmt: skip
"""What ``auto`` takes where no comparison says better: the first of these whose needs are met.

On photographs the spectrum halves the distance of few-step samples that the best of the others have, and a banded head
adds to it. A full covariance knows more than its spectrum, and only small images have one: on the digits it is the best
at 50 steps. NPR stands before SN because it is right at the learned mean and nearly right after a short fit. Figures in
benchmarks/README.md.
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
