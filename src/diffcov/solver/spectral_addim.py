"""``spectral-addim``: DDIM whose noise is stretched by what is uncertain per frequency and colour, without any draw."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from diffcov.diffusion.step import Step
from diffcov.solver.spectral_ei import ErrorSpectrum
from diffcov.solver.stretched import Stretched
from diffcov.transfer import sent

__all__ = ["SpectralADDIM"]


@dataclass(frozen=True)
class SpectralADDIM(Stretched):
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

    spectrum: ErrorSpectrum | None = field(default=None, compare=False, repr=False)

    name = "spectral-addim"
    summary = "adjusted DDIM per frequency and colour, from the spectrum, no draw"
    reference = "diffcov; arXiv 2403.06807, algorithm 3, in cosines"
    needs = ("spectrum",)

    def stretched(self, step: Step, eps_hat: Tensor) -> Tensor:
        """Each coefficient of each image by itself."""
        assert self.spectrum is not None
        in_cells = self.spectrum.var_eps_in_cells(step.schedule, torch.tensor([step.t]))[0]
        grown = self.spectrum.spread(step.gamma**2 * self.mse * float(step.schedule.ratio[step.t]) * in_cells)
        e = self.spectrum.basis.forward(eps_hat)
        longer = (step.direction**2 * e.square() + sent(grown.to(e.dtype), e.device)).sqrt()
        return self.spectrum.basis.inverse(longer.copysign(e))
