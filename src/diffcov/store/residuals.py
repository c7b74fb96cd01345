"""The spectrum and the residual matrices on disk."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from diffcov.errors import InputError
from diffcov.statistics.matrices import ResidualMatrices
from diffcov.statistics.spectrum import Spectrum
from diffcov.store.measured import MeasuredFile, MeasuredKind

__all__ = ["MATRICES", "SPECTRUM", "load_matrices", "load_spectrum", "save_matrices", "save_spectrum"]

S = TypeVar("S", Spectrum, ResidualMatrices)

SPECTRUM: MeasuredKind[Spectrum] = MeasuredKind(
    "spectrum", "spectrum", "diffcov estimate-var --force", Spectrum.from_tensors
)
MATRICES: MeasuredKind[ResidualMatrices] = MeasuredKind(
    "residual-matrices", "file of residual matrices", "diffcov estimate-var --full --force",
    ResidualMatrices.from_tensors,
)  # fmt: skip

save_spectrum, save_matrices = SPECTRUM.save, MATRICES.save


def load_spectrum(path: Path, trunk: str | None = None) -> MeasuredFile[Spectrum]:
    """Read a spectrum; see :meth:`diffcov.store.measured.MeasuredKind.load`."""
    return _within_schedule(path, SPECTRUM.load(path, trunk))


def load_matrices(path: Path, trunk: str | None = None) -> MeasuredFile[ResidualMatrices]:
    """Read residual matrices; see :meth:`diffcov.store.measured.MeasuredKind.load`."""
    return _within_schedule(path, MATRICES.load(path, trunk))


def _within_schedule(path: Path, found: MeasuredFile[S]) -> MeasuredFile[S]:
    """The file, unless its knots are no times of its schedule (InputError)."""
    knots, T = found.statistics.knots, found.schedule.T
    if not (int(knots[0]) >= 1 and int(knots[-1]) <= T and bool((knots.diff() > 0).all())):
        raise InputError(
            f"{path} holds knots {knots.tolist()}, which are no times of its schedule (T={T}); make it "
            "again with: diffcov estimate-var --force"
        )
    return found
