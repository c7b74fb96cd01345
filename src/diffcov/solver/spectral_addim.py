"""``spectral-addim``: DDIM whose noise is stretched by what is uncertain per frequency and colour, without any draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from diffcov.denoiser.look import Look
from diffcov.diffusion.step import Step
from diffcov.errors import InputError, UsageError
from diffcov.solver.base import Solver
from diffcov.solver.spectral_ei import ErrorSpectrum

__all__ = ["SpectralADDIM"]


@dataclass(frozen=True)
class SpectralADDIM(Solver):
    """sqrt(abar_s) x0_hat + U^T e', e'_k = sign(e_k) sqrt(direction^2 e_k^2 + gamma^2 mse r v_k), e = U eps_hat.

    What ``addim`` does to the norm of an image is done to each cosine coefficient of it: its square grows by gamma^2
    times what is uncertain of x_0 there, r v_k = r E[(U (eps - eps_hat))_k^2] of the spectrum. So the norm grows as
    addim's does, at the frequencies that it belongs to. The correlation of eps_hat with x0_hat is left out, as
    there; with it, the factor per frequency is that of ``spectral-ei`` at order 1 for Gaussian data. The step to the
    data is x0_hat.

    Args:
        mse: the share of the measured squared error that is made up for, 0..1; 0.75 as published for the whole image.
        spectrum: the spectrum; see :meth:`given`.

    Raises:
        UsageError: another share.
    """

    mse: float = 0.75
    spectrum: ErrorSpectrum | None = field(default=None, compare=False, repr=False)

    name = "spectral-addim"
    summary = "adjusted DDIM per frequency and colour, from the spectrum, no draw"
    reference = "diffcov; arXiv 2403.06807, algorithm 3, in cosines"
    needs = ("spectrum",)
    eta = 0.0
    order = 1
    covers = False

    def __post_init__(self) -> None:
        if not 0 <= self.mse <= 1:
            raise UsageError(
                f"spectral-addim makes up for a share of the squared error between 0 and 1, found {self.mse:g}"
            )

    def walk(self, steps: Sequence[Step]) -> SpectralADDIM:
        """The solver itself: it remembers nothing.

        Raises:
            InputError: it was given no spectrum.
        """
        if self.spectrum is None:
            raise InputError("spectral-addim needs a spectrum and was given none; use Solver.given")
        return self

    def mean(self, step: Step, look: Look) -> Tensor:
        """The mean, whose stretch is of each coefficient of each image; x0_hat at s = 0."""
        assert self.spectrum is not None
        if step.s == 0:
            return look.x0_hat
        in_cells = self.spectrum.var_eps_in_cells(step.schedule, torch.tensor([step.t]))[0]
        grown = self.spectrum.spread(step.gamma**2 * self.mse * float(step.schedule.ratio[step.t]) * in_cells)
        e = self.spectrum.basis.forward(look.eps_hat)
        stretched = (step.direction**2 * e.square() + grown.to(e.device, e.dtype)).sqrt().copysign(e)
        return math.sqrt(step.alpha_bar_s) * look.x0_hat + self.spectrum.basis.inverse(stretched)
