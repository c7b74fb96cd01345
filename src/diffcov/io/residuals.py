"""The spectrum and the residual matrices on disk."""

from __future__ import annotations

from pathlib import Path

from diffcov.covariance.matrices import ResidualMatrices
from diffcov.covariance.spectrum import Spectrum
from diffcov.io.measured import MeasuredFile, MeasuredKind

__all__ = ["MATRICES", "SPECTRUM", "load_matrices", "load_spectrum", "save_matrices", "save_spectrum"]

SPECTRUM: MeasuredKind[Spectrum] = MeasuredKind(
    "spectrum", "spectrum", "diffcov estimate-var --force", Spectrum.from_tensors
)
MATRICES: MeasuredKind[ResidualMatrices] = MeasuredKind(
    "residual-matrices", "file of residual matrices", "diffcov estimate-var --full --force",
    ResidualMatrices.from_tensors,
)  # fmt: skip

save_spectrum, save_matrices = SPECTRUM.save, MATRICES.save


def load_spectrum(path: Path, trunk: str | None = None) -> MeasuredFile[Spectrum]:
    """Read a spectrum; see :meth:`diffcov.io.measured.MeasuredKind.load`."""
    return SPECTRUM.load(path, trunk)


def load_matrices(path: Path, trunk: str | None = None) -> MeasuredFile[ResidualMatrices]:
    """Read residual matrices; see :meth:`diffcov.io.measured.MeasuredKind.load`."""
    return MATRICES.load(path, trunk)
