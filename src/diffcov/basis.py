"""Orthonormal bases in which a covariance is diagonal: pixels, and 2-D cosines with a colour rotation.

In an orthonormal basis U a covariance is U^T diag(var) U: noise is U^T (sqrt(var) z), and the likelihood of a residual
is that of its coefficients U r one by one. Everything a covariance's users need of its basis is here.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

__all__ = ["PIXEL", "Basis", "Cosine", "Pixel", "radial_bands"]


class Basis(ABC):
    """An orthonormal basis of images; coefficients have the shape of the image, (..., C, H, W)."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """U x: image to coefficients, in the dtype of ``x``."""

    @abstractmethod
    def inverse(self, coefficients: Tensor) -> Tensor:
        """U^T c: coefficients to image, in the dtype of ``coefficients``."""

    @abstractmethod
    def spread(self, var_pixel: Tensor) -> Tensor:
        """diag(U diag(var_pixel) U^T): the variances of the coefficients of pixels that vary independently."""


class Pixel(Basis):
    """The pixels themselves, U = I."""

    def forward(self, x: Tensor) -> Tensor:
        """``x``."""
        return x

    def inverse(self, coefficients: Tensor) -> Tensor:
        """``coefficients``."""
        return coefficients

    def spread(self, var_pixel: Tensor) -> Tensor:
        """``var_pixel``."""
        return var_pixel


PIXEL = Pixel()


@dataclass(frozen=True)
class Cosine(Basis):
    """The 2-D DCT-II of each channel, times a rotation of the channels.

    Three channels rotate to grey (1, 1, 1), and the opponent axes (1, 0, -1) and (1, -2, 1), each made a unit vector;
    any other number of channels is left as it is. Coefficient (0, u, v) is the grey cosine with u half periods down
    and v across.

    Args:
        channels: C.
        height: H.
        width: W.
    """

    channels: int
    height: int
    width: int

    def forward(self, x: Tensor) -> Tensor:
        """(..., C, H, W) -> (..., C, H, W)."""
        return self._apply(x, self._factors())

    def inverse(self, coefficients: Tensor) -> Tensor:
        """(..., C, H, W) -> (..., C, H, W)."""
        return self._apply(coefficients, tuple(factor.T for factor in self._factors()))

    def spread(self, var_pixel: Tensor) -> Tensor:
        """(..., C, H, W) -> (..., C, H, W): sum over pixels of (basis vector)^2 times their variance."""
        return self._apply(var_pixel, tuple(factor.square() for factor in self._factors()))

    def _factors(self) -> tuple[Tensor, Tensor, Tensor]:
        return _colour_rotation(self.channels), _dct_matrix(self.height), _dct_matrix(self.width)

    @staticmethod
    def _apply(x: Tensor, factors: tuple[Tensor, ...]) -> Tensor:
        colour, rows, columns = (factor.to(x.device, x.dtype) for factor in factors)
        return torch.einsum("cd,...dhw->...chw", colour, rows @ x @ columns.T)


def radial_bands(height: int, width: int) -> tuple[Tensor, list[str]]:
    """Octaves of spatial frequency.

    The radius of coefficient (u, v) counts half periods along the longer side, whatever the image's shape. Band 0 is
    the mean alone, band b >= 1 holds the radii in [2^(b-1), 2^b).

    Returns:
        Band numbers, int64 (H, W), without gaps, and the bands' names: "0", "1-2", "2-4", ...
    """
    longest = max(height, width)
    u = torch.arange(height, dtype=torch.float64) * (longest / height)
    v = torch.arange(width, dtype=torch.float64) * (longest / width)
    radius = (u[:, None].square() + v[None, :].square()).sqrt()
    octave = torch.where(radius > 0, radius.clamp(min=1).log2().floor() + 1, 0).long()
    found = sorted({int(b) for b in octave.flatten()})
    names = ["0" if b == 0 else f"{2 ** (b - 1)}-{2**b}" for b in found]
    return torch.searchsorted(torch.tensor(found), octave), names


@cache
def _dct_matrix(n: int) -> Tensor:
    """(n, n) float64, row u: sqrt((2 - [u = 0]) / n) cos(pi u (2 j + 1) / (2 n))."""
    u, j = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(n, dtype=torch.float64)
    rows = (math.pi / (2 * n) * u * (2 * j + 1)).cos() * math.sqrt(2 / n)
    rows[0] /= math.sqrt(2)
    return rows


@cache
def _colour_rotation(channels: int) -> Tensor:
    """(C, C) float64, orthonormal rows."""
    if channels != 3:
        return torch.eye(channels, dtype=torch.float64)
    axes = torch.tensor([[1, 1, 1], [1, 0, -1], [1, -2, 1]], dtype=torch.float64)
    return axes / axes.square().sum(1, keepdim=True).sqrt()
