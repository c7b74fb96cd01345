"""The one conversion from our times 1..T to those a network was trained with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

__all__ = ["TimeConvention"]


@dataclass(frozen=True)
class TimeConvention:
    """network time = (t - offset) * scale.

    Args:
        offset: 1 where the network counts from 0, as most published ones do; 0 where it counts from 1 as we do (the
            CIFAR-10 networks of arXiv 2206.07309 take t = 1..T).
        scale: 1000 / T where the network's times always span 0..1000, else 1.
    """

    offset: float = 1.0
    scale: float = 1.0

    @classmethod
    def spanning_thousand(cls, T: int) -> Self:
        """Times from 0, stretched to 0..1000 for any T: the convention of arXiv 2102.09672 and of our own networks."""
        return cls(1.0, 1000 / T)

    def __call__(self, t: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """(B,) times in 1..T -> (B,) network times of ``dtype``."""
        return (t.to(dtype) - self.offset) * self.scale

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain values, for metadata."""
        return {"offset": float(self.offset), "scale": float(self.scale)}
