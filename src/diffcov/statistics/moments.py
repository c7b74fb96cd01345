"""Mean and standard error from sums: the arithmetic that all statistics share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Moments"]


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

    def mean(self) -> Tensor:
        """The mean at each place; NaN where nothing was measured."""
        return self.total / self.count

    def stderr(self) -> Tensor:
        """The standard error of the mean; NaN below two images."""
        variance = (self.total_sq - self.total.square() / self.count) / (self.count - 1)
        return torch.where(self.count > 1, (variance.clamp(min=0) / self.count).sqrt(), torch.nan)
