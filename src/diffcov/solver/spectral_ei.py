"""``spectral-ei``: the spectrum as a solver, an exponential integrator per frequency and colour; order 1 and 2.

The rates v_k of :mod:`diffcov.solver.exponential` are the spectrum, in cosines at all times: exact in one look for data
that are Gaussian in them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from diffcov.basis.base import Basis
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.solver.exponential import ExponentialIntegrator, Rates

__all__ = ["ErrorSpectrum", "SpectralEI"]


class ErrorSpectrum(Protocol):
    """What it has to know: E[(U (eps - eps_hat))^2] by cell of frequencies, at each time."""

    file: str
    digest: str
    basis: Basis

    def var_eps_in_cells(self, schedule: NoiseSchedule, t: Tensor) -> Tensor:
        """(B, C, h, w) float64 at times (B,)."""

    def spread(self, in_cells: Tensor) -> Tensor:
        """Values of cells (.., h, w) given to every coefficient, (.., H, W)."""


@dataclass(frozen=True)
class SpectralEI(ExponentialIntegrator):
    """DDIM whose eps_hat fades over the step as the spectrum says, frequency by frequency.

    Args:
        spectrum: what was measured of the mean; see :meth:`given`.
    """

    spectrum: ErrorSpectrum | None = field(default=None, compare=False, repr=False)

    name = "spectral-ei"
    summary = "exponential integrator from the spectrum, per frequency and colour"
    reference = "diffcov; empirical model statistics of arXiv 2310.13268 in cosines"
    needs = ("spectrum",)

    def rates(self, schedule: NoiseSchedule, times: Tensor) -> Rates:
        """The spectrum at these times, by cell."""
        assert self.spectrum is not None
        return Rates(self.spectrum.basis, self.spectrum.var_eps_in_cells(schedule, times))

    def spread(self, in_cells: Tensor) -> Tensor:
        """Values of cells given to every coefficient."""
        assert self.spectrum is not None
        return self.spectrum.spread(in_cells)
