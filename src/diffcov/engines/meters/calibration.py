"""Calibration: is the squared error of x0_hat as large as the covariance says it is?

E[(x_0 - x0_hat)^2 / var_x0] is 1 where it is. Above 1 the covariance is too small (the sampler puts back too little
noise), below 1 too large. One number a time can hide two errors of opposite sign, so it is also taken by octave of
spatial frequency and by quantile of the predicted variance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffcov.basis import cosine, radial_bands
from diffcov.covariance.base import Covariance
from diffcov.data import DataDescription
from diffcov.denoiser.noised import Noised

__all__ = ["Calibration", "CalibrationMeter"]

QUANTILES = 5


@dataclass(frozen=True)
class Calibration:
    """The calibration of one covariance at M times; 1 is right, NaN where every variance is 0.

    Attributes:
        times: the M times.
        bands: names of the frequency bands, low to high.
        ratio: (M,) float64, mean of error^2 / var_x0 over the values whose var_x0 is above 0.
        floor_share: (M,) float64, share of the values whose var_x0 is 0 and which ``ratio`` leaves out.
        by_band: (M, bands) float64, the same over the cosine coefficients of each band.
        by_quantile: (M, 5) float64, sum of error^2 over sum of var_x0 in each fifth of an image's values, ordered by
            var_x0; None for a covariance that is the same for all values.
    """

    times: tuple[int, ...]
    bands: tuple[str, ...]
    ratio: Tensor
    floor_share: Tensor
    by_band: Tensor
    by_quantile: Tensor | None

    @property
    def rms_log(self) -> float:
        """Root mean square of log(ratio) over times and bands: 0 is right, 0.69 is a factor of 2 on average."""
        logs = self.by_band[self.by_band > 0].log()
        return float(logs.square().mean().sqrt()) if logs.numel() else math.nan

    def as_dict(self) -> dict[str, Any]:
        """Plain values; NaN becomes None."""
        quantiles = None if self.by_quantile is None else _plain(self.by_quantile)
        return {
            "ratio": _plain(self.ratio),
            "floor_share": _plain(self.floor_share),
            "by_band": _plain(self.by_band),
            "by_quantile": quantiles,
            "rms_log": None if math.isnan(self.rms_log) else self.rms_log,
        }


class CalibrationMeter:
    """Adds up error^2 / var_x0 of several covariances.

    Args:
        data: of the model.
        covariances: by name.
        times: where to look.
    """

    def __init__(self, data: DataDescription, covariances: Mapping[str, Covariance], times: Sequence[int]) -> None:
        self.covariances = dict(covariances)
        self._numbers = {t: m for m, t in enumerate(times)}
        self._cosine = cosine(*data.shape)
        band, self.bands = radial_bands(data.height, data.width)
        self._band = band.expand(data.shape).flatten()
        self._sums = {name: _Sums(len(self._numbers), len(self.bands)) for name in covariances}

    @property
    def times(self) -> Sequence[int]:
        """Where to look."""
        return tuple(self._numbers)

    def add(self, noised: Noised) -> None:
        """One batch at one time, for every covariance."""
        error, m = noised.error, self._numbers[noised.look.time]
        error_band = self._cosine.forward(error).square().flatten(1)
        for name, covariance in self.covariances.items():
            uncertainty, sums = covariance.checked(noised.look), self._sums[name]
            own_sq = uncertainty.basis.forward(error).square().flatten(1)
            var = uncertainty.var.to(error.device, error.dtype).expand_as(error).flatten(1)
            sums.add(m, own_sq, var)
            sums.add_bands(m, error_band, uncertainty.seen_in(self._cosine, error).flatten(1), self._band)
            if not uncertainty.is_scalar:
                sums.add_quantiles(m, own_sq, var)

    def sums(self) -> Sequence[Tensor]:
        """All that it has added up."""
        return [tensor for sums in self._sums.values() for tensor in vars(sums).values()]

    def result(self, name: str) -> Calibration:
        """The calibration of one covariance."""
        sums = self._sums[name]
        return Calibration(
            times=tuple(self._numbers),
            bands=tuple(self.bands),
            ratio=sums.ratio / sums.above,
            floor_share=1 - sums.above / sums.count,
            by_band=sums.band_ratio / sums.band_above,
            by_quantile=sums.quantile_error / sums.quantile_var if sums.in_quantiles.any() else None,
        )


class _Sums:
    """Sums of one covariance, a row a time, on the CPU."""

    def __init__(self, times: int, bands: int) -> None:
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=torch.float64)

        self.ratio, self.above, self.count = zeros(times), zeros(times), zeros(times)
        self.band_ratio, self.band_above = zeros(times, bands), zeros(times, bands)
        self.quantile_error, self.quantile_var = zeros(times, QUANTILES), zeros(times, QUANTILES)
        self.in_quantiles = zeros(times)

    def add(self, m: int, error_sq: Tensor, var: Tensor) -> None:
        above = var > 0
        self.ratio[m] += (error_sq[above] / var[above]).sum().cpu()
        self.above[m] += above.sum().cpu()
        self.count[m] += above.numel()

    def add_bands(self, m: int, error_sq: Tensor, var: Tensor, band: Tensor) -> None:
        above = var > 0
        ratio = torch.where(above, error_sq / var.where(above, torch.ones_like(var)), 0)
        self.band_ratio[m].index_add_(0, band, ratio.sum(0).cpu())
        self.band_above[m].index_add_(0, band, above.double().sum(0).cpu())

    def add_quantiles(self, m: int, error_sq: Tensor, var: Tensor) -> None:
        self.in_quantiles[m] += len(var)
        order = var.argsort(1)
        for q, part in enumerate(order.tensor_split(QUANTILES, dim=1)):
            self.quantile_error[m, q] += error_sq.gather(1, part).sum().cpu()
            self.quantile_var[m, q] += var.gather(1, part).sum().cpu()


def _plain(values: Tensor) -> list[Any]:
    """Nested lists with None in place of what is not finite."""
    if values.dim() > 1:
        return [_plain(row) for row in values]
    return [float(v) if math.isfinite(v) else None for v in values]
