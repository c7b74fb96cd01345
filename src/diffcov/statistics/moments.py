"""Mean and standard error from sums: the arithmetic that all statistics share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

__all__ = ["Moments", "near_sum", "pooled"]

NEIGHBOURS = 2
"""On either side, over which a variance is pooled."""


@dataclass(frozen=True)
class Moments:
    """A quantity that was measured once an image, at several places; all tensors float64 and broadcastable together.

    Args:
        count: images measured at each place.
        total: sum of the quantity over them.
        total_sq: sum of its square.
    """

    count: Tensor
    total: Tensor
    total_sq: Tensor

    @classmethod
    def stating(cls, mean: Tensor, stderr: Tensor, count: Tensor) -> Self:
        """The sums that this many images, at least two, would have with this mean and this standard error."""
        return cls(count, mean * count, count * (mean.square() + (count - 1) * stderr.square()))

    def mean(self) -> Tensor:
        """The mean at each place; NaN where nothing was measured."""
        return self.total / self.count

    def stderr(self) -> Tensor:
        """The standard error of the mean; NaN below two images."""
        variance = (self.total_sq - self.total.square() / self.count) / (self.count - 1)
        return torch.where(self.count > 1, (variance.clamp(min=0) / self.count).sqrt(), torch.nan)

    def at(self, places: Tensor) -> Moments:
        """Those of some places alone, by their numbers along the first axis."""
        return Moments(self.count[places], self.total[places], self.total_sq[places])

    def replaced(self, places: Tensor, others: Moments) -> Moments:
        """The same with other sums at some places, by their numbers along the first axis."""
        pairs = ((self.count, others.count), (self.total, others.total), (self.total_sq, others.total_sq))
        return Moments(*(whole.index_copy(0, places, part) for whole, part in pairs))

    def spread(self) -> Tensor:
        """Var of one image's value, of the shape of the sums; NaN below two images."""
        return self.stderr().square() * self.count


def pooled(values: Tensor, count: Tensor) -> Tensor:
    """Each place's value and those of its two neighbours on either side, averaged over their images.

    Of few images a variance is poorly known, and it goes with the mean by chance: weights made of it would draw a curve
    through the means down.

    Args:
        values: (M, ...) float64; NaN where it is not known.
        count: (M, 1, ...), images at each place.

    Returns:
        Of the values' shape; NaN where none of the five is known.
    """
    known = ~values.isnan()
    weight = count * known
    return near_sum(weight * values.nan_to_num(nan=0.0)) / near_sum(weight)


def near_sum(values: Tensor) -> Tensor:
    """(M, ...) float64: each place's value and those of its two neighbours on either side, added up."""
    number = torch.arange(len(values))
    near = ((number[:, None] - number).abs() <= NEIGHBOURS).double()
    return (near @ values.reshape(len(values), -1)).reshape(values.shape)
