"""Contrast: by how much two pixels differ, as a distribution for each distance between them.

Washed-out samples have too little of it, speckled ones too much; and where faint strokes come with speckle, the two do
not cancel, because whole distributions are compared and not their means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from diffcov.errors import InputError

__all__ = ["Contrast"]

ORDER = 1.25
"""p of the Wasserstein distance. 1 makes little of edges, and a scale chosen by it stops early on photographs; 2 makes
little of speckle, and a scale chosen by it goes too far on sparse images; ``benchmarks/README.md`` has the figures."""


@dataclass(frozen=True)
class Contrast:
    """How often |pixel - pixel| has each size, for pairs 1, 2, 4, ... pixels apart along a row or a column.

    Args:
        counts: float64 (distances, levels), pairs by the difference of their grey levels; all channels together.
    """

    counts: Tensor

    @classmethod
    def of(cls, pixels: Tensor, levels: int) -> Self:
        """Of some images.

        Args:
            pixels: (B, C, H, W) uint8 grey levels below ``levels``, H and W at least 2.
            levels: of the data.

        Raises:
            InputError: a row or a column of one pixel.
        """
        shorter = min(pixels.shape[-2:])
        if shorter < 2:
            raise InputError(f"contrast needs images of at least 2x2 pixels, found {tuple(pixels.shape[-2:])}")
        distances = [2**k for k in range((shorter - 1).bit_length())]
        grey = pixels.short()
        counts = [
            torch.bincount((ahead - behind).abs().flatten(), minlength=levels).double()
            for distance in distances
            for ahead, behind in (
                (grey[..., distance:], grey[..., :-distance]),
                (grey[..., distance:, :], grey[..., :-distance, :]),
            )
        ]
        return cls(torch.stack(counts).reshape(len(distances), 2, levels).sum(1).cpu())

    def merge(self, other: Self) -> Self:
        """Of both sets of images together; of the same size and number of grey levels."""
        return type(self)(self.counts + other.counts)

    def mean(self) -> Tensor:
        """(distances,) float64, the mean difference in grey levels."""
        return (self.counts * self._levels()).sum(1) / self.counts.sum(1)

    def mismatch(self, data: Self) -> float:
        """How far differences must move to be distributed as the data's, relative to the data's own size.

        With Q the quantiles at one distance, W_p^p = int |Q(u) - Q_data(u)|^p du is summed over distances, and so is
        what it would be for flat images, E_data l^p; the p-th root of the ratio. 0 for the same distributions, 1 for
        flat images, |c - 1| where contrast is the data's times c, as between Gaussians of the same correlation.

        Args:
            data: at least one image of the same size and number of grey levels.

        Raises:
            InputError: data without contrast.
        """
        size = ((data.counts * self._levels() ** ORDER).sum(1) / data.counts.sum(1)).sum()
        if not size > 0:
            raise InputError("the images have no contrast: all pixels of each are equal; look at the data")
        ours, theirs = self._cumulative(), data._cumulative()
        ends = torch.cat([ours, theirs], dim=1).sort(dim=1).values
        starts = torch.nn.functional.pad(ends, (1, -1))
        inside = (starts + ends) / 2
        moved = (torch.searchsorted(ours, inside) - torch.searchsorted(theirs, inside)).abs().double()
        total = ((ends - starts) * moved**ORDER).sum()
        return float((total / size) ** (1 / ORDER))

    def _levels(self) -> Tensor:
        return torch.arange(self.counts.shape[1], dtype=torch.float64)

    def _cumulative(self) -> Tensor:
        return self.counts.cumsum(1) / self.counts.sum(1, keepdim=True)
