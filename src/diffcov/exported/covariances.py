"""The covariance of a configuration: a table of numbers, a spectrum, or what a head says."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffcov.basis.base import PIXEL
from diffcov.denoiser.look import Look
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.exported.tables import PackedSpectrum
from diffcov.gaussian.diagonal import Diagonal

__all__ = ["PackedCovariance"]


@dataclass(frozen=True, eq=False)
class PackedCovariance:
    """Cov[x_0 | x_t] within its bounds.

    Attributes:
        schedule: the noise schedule.
        pixel_bound: the largest variance of one pixel.
        var_x0: (T+1,) float64, one variance a time, within its bounds already; None where it is not of the time alone.
        spectrum: of the error, where it is one of frequencies and colours; None where it is one of pixels.
        less_square: 0 or 1: how many eps_hat^2 are taken off of what a head says of pixels.
    """

    schedule: NoiseSchedule
    pixel_bound: float
    var_x0: Tensor | None
    spectrum: PackedSpectrum | None
    less_square: float

    def at(self, look: Look, head: Tensor | None) -> Diagonal:
        """The covariance at a look.

        Args:
            look: at x_t of one time.
            head: (B, C, H, W), what the head says there, if there is one.
        """
        t = look.time
        if self.var_x0 is not None:
            return Diagonal(PIXEL, self.var_x0[t])
        ratio = float(self.schedule.ratio[t])
        if self.spectrum is not None:
            in_cells = self.spectrum.var_eps_in_cells(self.schedule, torch.tensor([t]))
            var = ratio * self.spectrum.spread(in_cells)[0]
            found = Diagonal(self.spectrum.basis, var if head is None else var.to(head.device) * head)
        else:
            assert head is not None, "what is neither a table nor a spectrum is said by a head"
            found = Diagonal(PIXEL, ratio * (head - self.less_square * look.predicted.square()))
        return found.clipped(self.pixel_bound)
