"""Covariances by name. Importing this file imports no torch, so that ``--help`` and completion stay fast.

To add a covariance: write ``covariance/yours.py`` with one subclass of ``Covariance``, and add its line here.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, NamedTuple

from diffcov.errors import UsageError
from diffcov.named import named

if TYPE_CHECKING:
    from diffcov.covariance.base import Covariance
    from diffcov.denoiser.base import Denoiser

__all__ = ["COVARIANCES", "PREFERENCE", "Entry", "heads", "load", "make_covariance", "preferred", "unasked_heads"]


class Entry(NamedTuple):
    """One line of the registry.

    Attributes:
        home: "module:Class".
        reads_head: whether it is a ``HeadCovariance``, said here so that help texts need not import it.
        needs_curvature: whether its head needs a backward pass, and so is fitted only where it is asked for.
        reads_range: whether it reads a variance that the network itself learned, and so is offered for such means only.
    """

    home: str
    reads_head: bool = False
    needs_curvature: bool = False
    reads_range: bool = False


COVARIANCES: dict[str, Entry] = {
    "small": Entry("diffcov.covariance.small:Small"),
    "large": Entry("diffcov.covariance.large:Large"),
    "analytic": Entry("diffcov.covariance.analytic:Analytic"),
    "corrected": Entry("diffcov.covariance.corrected:Corrected"),
    "spectral": Entry("diffcov.covariance.spectral:Spectral"),
    "full": Entry("diffcov.covariance.full:Full"),
    "npr": Entry("diffcov.covariance.npr:NPR", reads_head=True),
    "sn": Entry("diffcov.covariance.sn:SN", reads_head=True),
    "ocm": Entry("diffcov.covariance.ocm:OCM", reads_head=True, needs_curvature=True),
    "banded": Entry("diffcov.covariance.banded:Banded", reads_head=True),
    "learned-range": Entry("diffcov.covariance.learned_range:LearnedRange", reads_range=True),
}
"""Covariances by name, in the order of tables and pictures."""

PREFERENCE: tuple[str, ...] = (
    "full", "banded", "spectral", "npr", "sn", "ocm", "learned-range", "corrected", "analytic", "small"
)  # fmt: skip
"""What ``auto`` takes where no comparison says better: the first of these whose needs are met.

On photographs the spectrum halves the distance of few-step samples that the best of the others have, and a banded head
adds to it. A full covariance knows more than its spectrum, and only small images have one: on the digits it is the best
at 50 steps. NPR stands before SN because it is right at the learned mean and nearly right after a short fit. Figures in
benchmarks/README.md. A learned range stands before ``corrected`` and is among the buildable ones only for a mean whose
range was measured to have the lower bound.
"""


def load(name: str) -> type[Covariance]:
    """The class behind a name; a KeyError for a name that is not registered."""
    found: type[Covariance] = named(COVARIANCES[name].home)
    return found


def make_covariance(name: str, mean: Denoiser, *parts: Any) -> Covariance:
    """A covariance of a mean.

    Args:
        name: a registered name.
        mean: the mean.
        parts: the statistics and the head that it is built from, in any order.

    Raises:
        UsageError: no such covariance.
        InputError: a part is missing, or does not fit the mean.
    """
    from diffcov.covariance.ingredients import Ingredients

    if name not in COVARIANCES:
        raise UsageError.unknown("covariance", name, COVARIANCES)
    return load(name)(Ingredients.of(mean.schedule, mean.data, *parts))


def heads() -> tuple[str, ...]:
    """Names of the covariances that read a fitted head, in the registry's order."""
    return tuple(name for name, entry in COVARIANCES.items() if entry.reads_head)


def unasked_heads() -> tuple[str, ...]:
    """Heads that are fitted where none are named: those that share a plain network pass."""
    return tuple(name for name in heads() if not COVARIANCES[name].needs_curvature)


def preferred(buildable: Collection[str]) -> str:
    """The first of :data:`PREFERENCE` that can be built."""
    return next(name for name in PREFERENCE if name in buildable)
