"""The spectrum: how large the error of the predicted noise is at each frequency, colour axis and noise level.

E[(U (eps - eps_hat))^2] per cosine coefficient, as sufficient statistics at knots in log-SNR. Large images are kept in
cells of neighbouring frequencies, so that a spectrum never has more than 64 x 64 values a channel and knot.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from diffcov.basis.bands import radial_bands
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.statistics.at_knots import AtKnots
from diffcov.statistics.base import Setting, Wanted
from diffcov.statistics.control import control_sums, controlled
from diffcov.statistics.knot_meters import SpectrumMeter
from diffcov.statistics.knots import Knots
from diffcov.statistics.moments import Moments
from diffcov.statistics.noise_curve import smoothed

__all__ = ["CELLS", "Spectrum", "frequency_cells"]

BAND_TOLERANCE = 5.0
"""How much larger the relative standard error of a band may be than that of the mean over all coefficients."""
CONTROLS = (2, 4)
"""Two controls of one value."""
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
        knots, count, colour, size, alpha_bar: see :class:`diffcov.statistics.at_knots.AtKnots`.
        total: float64 (M, C, h, w), sum over images of (U (eps - eps_hat))^2, mean over the coefficients of a cell.
        total_sq: float64 (M, C, h, w), sum over images of that mean's square.
        controls: float64 (M, C, h, w, 2, 4), sums of control variates, see ``control``; with alpha_bar alone.
        bands_sq: float64 (M, C, b), sum over images of the square of the mean over an octave of frequencies, by which
            a spectrum with curves is steered; likewise.
        band_controls: float64 (M, C, b, 2, 4), the controls of these means; likewise.
    """

    name = "spectrum"
    decides = True
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
    alpha_bar: Tensor | None = None
    controls: Tensor | None = None
    bands_sq: Tensor | None = None
    band_controls: Tensor | None = None

    @classmethod
    def empty(cls, knots: Knots, shape: tuple[int, int, int], colour: Tensor, alpha_bar: Tensor | None = None) -> Self:
        """The spectrum of no image, for images of ``shape`` (C, H, W)."""
        channels, height, width = shape
        cells = [int(frequency_cells(n)[-1]) + 1 for n in (height, width)]
        M = len(knots.times)
        zeros = torch.zeros(M, channels, *cells, dtype=torch.float64)
        count = torch.zeros(M, dtype=torch.float64)
        bands = int(radial_bands(height, width)[0].max()) + 1
        size = torch.tensor([height, width])
        plain = cls(torch.tensor(knots.times), count, zeros, zeros.clone(), colour, size)
        if alpha_bar is None:
            return plain
        in_bands = zeros.new_zeros(M, channels, bands)
        controls, of_bands = (sums.new_zeros(*sums.shape, *CONTROLS) for sums in (zeros, in_bands))
        return replace(plain, alpha_bar=alpha_bar, controls=controls, bands_sq=in_bands, band_controls=of_bands)

    @cached_property
    def _cells(self) -> tuple[Tensor, Tensor]:
        height, width = (int(n) for n in self.size)
        return frequency_cells(height), frequency_cells(width)

    @classmethod
    def begin(cls, setting: Setting) -> SpectrumMeter[Self]:
        start = cls.empty(Knots(setting.times), setting.data.shape, setting.colour, setting.alpha_bar)
        return SpectrumMeter(start, setting.linear)

    @cached_property
    def moments(self) -> Moments:
        """E[(U (eps - eps_hat))^2] at each knot, (M, C, h, w)."""
        measured = Moments(self.count[:, None, None, None], self.total, self.total_sq)
        if self.alpha_bar is None or self.controls is None:
            return measured
        return smoothed(self.alpha_bar, controlled(measured, self.controls))

    def mean(self) -> Tensor:
        """(M, C, h, w) float64, E[(U (eps - eps_hat))^2] at each knot."""
        return self.moments.mean()

    def stderr(self) -> Tensor:
        """(M, C, h, w) float64, standard error of :meth:`mean`; NaN below two images."""
        return self.moments.stderr()

    def add(self, knot: int, error_sq: Tensor, *controls: Tensor) -> None:
        """Take (B, C, H, W) squared coefficients at knot number ``knot`` into account, in place, and their controls."""
        in_cells = self._pool(error_sq.double().cpu())
        self.count[knot] += error_sq.shape[0]
        self.total[knot] += in_cells.sum(0)
        self.total_sq[knot] += in_cells.square().sum(0)
        if self.controls is not None and self.bands_sq is not None and self.band_controls is not None:
            pooled = [self._pool(one) for one in controls]
            in_bands, of_bands = self.in_bands(in_cells), [self.in_bands(one) for one in pooled]
            self.bands_sq[knot] += in_bands.square().sum(0)
            self.controls[knot] += control_sums(torch.stack(pooled, -1), in_cells[..., None])
            self.band_controls[knot] += control_sums(torch.stack(of_bands, -1), in_bands[..., None])

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

    @cached_property
    def _shares(self) -> Tensor:
        """(b, h, w) float64: the share of each cell in the mean over an octave of frequencies, by its coefficients."""
        rows, columns = self._cells
        band, _ = radial_bands(len(rows), len(columns))
        shares = torch.zeros(int(band.max()) + 1, int(rows[-1]) + 1, int(columns[-1]) + 1, dtype=torch.float64)
        where = (band, rows[:, None].expand_as(band), columns.expand_as(band))
        shares.index_put_(where, torch.ones((), dtype=torch.float64), accumulate=True)
        return shares / shares.sum((1, 2), keepdim=True)

    def in_bands(self, in_cells: Tensor) -> Tensor:
        """Means over octaves of frequencies, (.., h, w) -> (.., b)."""
        return torch.einsum("...hw,bhw->...b", in_cells, self._shares)

    @property
    def band_moments(self) -> Moments | None:
        """E over images and an octave's frequencies, (M, C, b), as measured at each knot; None without bands_sq."""
        if self.bands_sq is None or self.band_controls is None:
            return None
        measured = Moments(self.count[:, None, None], self.in_bands(self.total), self.bands_sq)
        return controlled(measured, self.band_controls)

    def band_relative_stderr(self) -> Tensor | None:
        """(M, C, b) float64, the standard error of the curve of an octave over its mean; None without bands_sq."""
        found = self.band_moments
        if found is None or self.alpha_bar is None:
            return None
        curves = smoothed(self.alpha_bar, found)
        return curves.stderr() / curves.mean()

    def wanted(self) -> Wanted | None:
        found = self.band_moments
        if found is None:
            return None
        count, total, total_sq = (sums.flatten(1) for sums in (found.count, found.total, found.total_sq))
        return Wanted("a band", tuple(self.times), Moments(count, total, total_sq), BAND_TOLERANCE)

    def summary(self) -> dict[str, Any]:
        return {"knots": len(self.knots)}

    def remarks(self) -> list[str]:
        mean = self.mean().flatten(1)
        dynamic = float((mean.amax(1) / mean.amin(1)).log10().max())
        differs = f"over the frequencies of one time the error differs by up to {dynamic:.1f} orders of magnitude"
        error = self.band_relative_stderr()
        if error is None:
            return [f"{int(self.count.max())} images at {len(self.knots)} knots; {differs}"]
        return [
            f"standard error of a band {float(error.median()):.1%} (median), {float(error.max()):.1%} (worst); "
            + differs
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
