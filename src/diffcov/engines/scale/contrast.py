"""Contrast: by how much two pixels differ, as a distribution for each lag between them.

Washed-out samples have too little of it, speckled ones too much; and where faint strokes come with speckle, the two do
not cancel, because whole distributions are compared and not their means.

Source: histograms of differences as a description of texture, M. Unser, IEEE PAMI 8(1), 1986. Comparing them by
Wasserstein distances is ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Self

import torch
from torch import Tensor

from diffcov.errors import InputError

__all__ = ["Contrast"]

ORDER = 1.25
"""p of the Wasserstein distance. 1 makes little of edges, and a scale chosen by it stops early on photographs; 2 makes
little of speckle, and a scale chosen by it goes too far on sparse images. This one number was chosen by looking at
Fréchet distances, once, on three data sets; ``benchmarks/README.md`` has the figures."""


@dataclass(frozen=True)
class Contrast:
    """How often |pixel - pixel| has each size, for pairs at lags of 1, 2, 4, ... pixels along a row or a column.

    Args:
        counts: float64 (lags, levels), pairs by the difference of their grey levels; all channels together.
    """

    counts: Tensor

    @classmethod
    def of(cls, batches: Iterable[Tensor], levels: int) -> Self:
        """The contrast of some images.

        Args:
            batches: at least one, each (B, C, H, W) uint8 grey levels below ``levels``, H and W at least 2.
            levels: of the data.

        Raises:
            InputError: a row or a column of one pixel.
        """
        return reduce(cls.merge, (cls(_histograms(pixels, levels)) for pixels in batches))

    def merge(self, other: Self) -> Self:
        """The contrast of both sets of images together; of the same size and number of grey levels."""
        return type(self)(self.counts + other.counts)

    def mismatch(self, wanted: Self) -> float:
        """How far differences must move to be distributed as wanted, relative to their size there.

        With Q the quantiles of the differences d at one lag, W_p^p = int |Q(u) - Q_wanted(u)|^p du is summed over lags,
        and so is what it would be for flat images, E_wanted d^p; the p-th root of the ratio. 0 for the same
        distributions, 1 for flat images, |c - 1| where contrast is c times that wanted, as between Gaussians of the
        same correlation.

        Args:
            wanted: of at least one image of the same size and number of grey levels.

        Raises:
            InputError: no contrast is wanted.
        """
        differences = torch.arange(wanted.counts.shape[1], dtype=torch.float64)
        flat = ((wanted.counts * differences**ORDER).sum(1) / wanted.counts.sum(1)).sum()
        if not flat > 0:
            raise InputError("the images have no contrast: all pixels of each are equal; look at the data")
        return float((_transport(self.counts, wanted.counts).sum() / flat) ** (1 / ORDER))


def _histograms(pixels: Tensor, levels: int) -> Tensor:
    """(lags, levels) float64, on the CPU."""
    shorter = min(pixels.shape[-2:])
    if shorter < 2:
        raise InputError(f"contrast needs images of at least 2x2 pixels, found {tuple(pixels.shape[-2:])}")
    grey = pixels.short()
    rows = []
    for lag in (2**k for k in range((shorter - 1).bit_length())):
        along_rows, along_columns = grey[..., lag:] - grey[..., :-lag], grey[..., lag:, :] - grey[..., :-lag, :]
        differences = torch.cat([along_rows.flatten(), along_columns.flatten()]).abs()
        rows.append(torch.bincount(differences, minlength=levels).double())
    return torch.stack(rows).cpu()


def _transport(a: Tensor, b: Tensor) -> Tensor:
    """int |Q_a(u) - Q_b(u)|^p du of histograms (lags, levels), (lags,) float64.

    Between neighbouring values of either cumulative distribution both quantile functions are constant.
    """
    F_a, F_b = (counts.cumsum(1) / counts.sum(1, keepdim=True) for counts in (a, b))
    ends = torch.cat([F_a, F_b], dim=1).sort(dim=1).values
    starts = torch.nn.functional.pad(ends, (1, -1))
    u = (starts + ends) / 2
    moved = (torch.searchsorted(F_a, u) - torch.searchsorted(F_b, u)).abs().double()
    return ((ends - starts) * moved**ORDER).sum(1)
