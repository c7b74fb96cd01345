"""Bands of spatial frequency of the 2-D cosine coefficients."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["band_weights", "frequency_radius", "radial_bands"]


def frequency_radius(height: int, width: int) -> Tensor:
    """(H, W) float64: half periods of coefficient (u, v) along the image's longer side, whatever its shape."""
    longest = max(height, width)
    u = torch.arange(height, dtype=torch.float64) * (longest / height)
    v = torch.arange(width, dtype=torch.float64) * (longest / width)
    return (u[:, None].square() + v[None, :].square()).sqrt()


def radial_bands(height: int, width: int) -> tuple[Tensor, list[str]]:
    """Octaves of spatial frequency.

    Band 0 is the mean alone, band b >= 1 holds the radii in [2^(b-1), 2^b).

    Returns:
        Band numbers, int64 (H, W), without gaps, and the bands' names: "0", "1-2", "2-4", ...
    """
    radius = frequency_radius(height, width)
    octave = torch.where(radius > 0, radius.clamp(min=1).log2().floor() + 1, 0).long()
    found = sorted({int(b) for b in octave.flatten()})
    names = ["0" if b == 0 else f"{2 ** (b - 1)}-{2**b}" for b in found]
    return torch.searchsorted(torch.tensor(found), octave), names


def band_weights(height: int, width: int, bands: int) -> Tensor:
    """Overlapping bands: triangles over log(1 + radius), evenly spaced from the mean to the highest frequency.

    Args:
        height: H.
        width: W.
        bands: their number, at least 2.

    Returns:
        (bands, H, W) float64 in [0, 1]; the weights of each coefficient sum to 1.
    """
    position = frequency_radius(height, width).log1p()
    position = position / position.max().clamp(min=1e-12) * (bands - 1)
    return (1 - (position - torch.arange(bands, dtype=torch.float64)[:, None, None]).abs()).clamp(min=0)
