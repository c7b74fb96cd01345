"""The spectrum: how large the error of the predicted noise is at each frequency, colour axis and noise level.

E[(U (eps - eps_hat))^2] per cosine coefficient, as sufficient statistics at knots in log-SNR. Large images are kept in
cells of neighbouring frequencies, so that a spectrum never has more than 64 x 64 values a channel and knot.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from diffcov.denoiser.noised import Noised
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.statistics.at_knots import AtKnots
from diffcov.statistics.base import Setting
from diffcov.statistics.knots import Knots
from diffcov.statistics.moments import Moments

__all__ = ["CELLS", "Spectrum", "frequency_cells"]

CELLS = 64
"""Cells along one axis, at most."""


def frequency_cells(n: int, most: int = CELLS) -> Tensor:
    """Which cell each of n frequencies belongs to, (n,) int64 without gaps from 0.

    One cell a frequency where n <= ``most``; else the lowest half of the cells hold one each and the rest grow
    geometrically, because spectra fall as powers of the frequency.
    """
    if n <= most:
        return torch.arange(n)
    single = most // 2
    rest = torch.arange(single, n, dtype=torch.float64)
    growth = (rest / single).log() / torch.tensor(n / single, dtype=torch.float64).log()
    cell = single + (growth * (most - single)).long()
    return torch.cat(
        [torch.arange(single), single + torch.searchsorted(torch.tensor(sorted(set(cell.tolist()))), cell)]
    )


@dataclass(frozen=True, repr=False)
class Spectrum(AtKnots):
    """Squared error of eps_hat per cosine coefficient, at M knots.

    Args:
        knots: int64 (M,), the measured times.
        count: float64 (M,), images measured at each.
        total: float64 (M, C, h, w), sum over images of (U (eps - eps_hat))^2, mean over the coefficients of a cell.
        total_sq: float64 (M, C, h, w), sum over images of that mean's square.
        colour: float64 (C, C), the rotation of the channels.
        size: int64 (2,), H and W of the images.
    """

    name = "spectrum"
    title = "a spectrum"
    several = "spectra"
    kind = "spectrum"
    file = "spectrum.safetensors"

    knots: Tensor
    count: Tensor
    total: Tensor
    total_sq: Tensor
    colour: Tensor
    size: Tensor

    @classmethod
    def empty(cls, knots: Knots, shape: tuple[int, int, int], colour: Tensor) -> Self:
        """The spectrum of no image, for images of ``shape`` (C, H, W)."""
        channels, height, width = shape
        cells = [int(frequency_cells(n)[-1]) + 1 for n in (height, width)]
        M = len(knots.times)
        zeros = torch.zeros(M, channels, *cells, dtype=torch.float64)
        count = torch.zeros(M, dtype=torch.float64)
        return cls(torch.tensor(knots.times), count, zeros, zeros.clone(), colour, torch.tensor([height, width]))

    @cached_property
    def _cells(self) -> tuple[Tensor, Tensor]:
        height, width = (int(n) for n in self.size)
        return frequency_cells(height), frequency_cells(width)

    @classmethod
    def begin(cls, setting: Setting) -> SpectrumMeter:
        return SpectrumMeter(cls.empty(Knots(setting.times), setting.data.shape, setting.colour))

    @property
    def moments(self) -> Moments:
        """E[(U (eps - eps_hat))^2] at each knot, (M, C, h, w)."""
        return Moments(self.count[:, None, None, None], self.total, self.total_sq)

    def mean(self) -> Tensor:
        """(M, C, h, w) float64, E[(U (eps - eps_hat))^2] at each knot."""
        return self.moments.mean()

    def stderr(self) -> Tensor:
        """(M, C, h, w) float64, standard error of :meth:`mean`; NaN below two images."""
        return self.moments.stderr()

    def add(self, knot: int, error_sq: Tensor) -> None:
        """Take (B, C, H, W) squared coefficients at knot number ``knot`` into account, in place."""
        in_cells = self._pool(error_sq.double().cpu())
        self.count[knot] += error_sq.shape[0]
        self.total[knot] += in_cells.sum(0)
        self.total_sq[knot] += in_cells.square().sum(0)

    def var_eps(self, schedule: NoiseSchedule, t: Tensor) -> Tensor:
        """E[(U (eps - eps_hat))^2] at any times, interpolated in log-SNR between logarithms.

        Args:
            schedule: the schedule it was measured under.
            t: (B,) int64 in 1..T.

        Returns:
            (B, C, H, W) float64 >= 0, on the CPU.
        """
        return self.spread(self.var_eps_in_cells(schedule, t))

    def var_eps_in_cells(self, schedule: NoiseSchedule, t: Tensor) -> Tensor:
        """The same as :meth:`var_eps`, one value a cell: (B, C, h, w) float64 >= 0, on the CPU."""
        log_mean = self.mean().clamp(min=1e-30).log().flatten(1)
        between = (self.knot_weights(schedule, t) @ log_mean).exp()
        return between.reshape(len(t), *self.total.shape[1:])

    def spread(self, in_cells: Tensor) -> Tensor:
        """Values of cells (.., h, w) given to every coefficient, (.., H, W)."""
        rows, columns = self._cells
        return in_cells[..., rows, :][..., columns]

    def summary(self) -> dict[str, Any]:
        return {"knots": len(self.knots)}

    def remarks(self) -> list[str]:
        mean = self.mean().flatten(1)
        dynamic = float((mean.amax(1) / mean.amin(1)).log10().max())
        return [
            f"{int(self.count.max())} images at {len(self.knots)} knots; over the frequencies of one time the error "
            f"differs by up to {dynamic:.1f} orders of magnitude"
        ]

    def _pool(self, values: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, h, w), means over cells."""
        for axis, cells in zip((-2, -1), self._cells, strict=True):
            if int(cells[-1]) + 1 == values.shape[axis]:
                continue
            shape = list(values.shape)
            shape[axis] = int(cells[-1]) + 1
            summed = values.new_zeros(shape).index_add_(axis, cells, values)
            sizes = cells.bincount().to(values.dtype)
            values = summed / (sizes[:, None] if axis == -2 else sizes)
        return values


class SpectrumMeter:
    """Adds up the squared coefficients of the error, batches of one time each.

    Args:
        spectrum: what is added to, in place.
    """

    def __init__(self, spectrum: Spectrum) -> None:
        self._spectrum = spectrum

    def add(self, noised: Noised) -> None:
        """One batch, which is at a knot."""
        coefficients = self._spectrum.basis.forward(noised.residual.double())
        self._spectrum.add(self._spectrum.knot_number(noised.look.time), coefficients.square())

    def result(self) -> Spectrum:
        """The spectrum."""
        return self._spectrum
