"""What the images are: shape, number of grey levels, range; and the map between grey levels and numbers.

The number of grey levels is data, not a constant: likelihoods in bits/dim and the cap on the last noise
depend on it (photographs have 256, the embedded digits 17).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from torch import Tensor

from diffcov.errors import InputError

__all__ = ["DataDescription"]


@dataclass(frozen=True)
class DataDescription:
    """Shape and numeric range of one image.

    Args:
        channels: number of channels C, at least 1.
        height: H in pixels.
        width: W in pixels.
        levels: number of grey levels; a stored pixel is an integer in 0..levels-1 (2..256).
        low: the number that level 0 becomes.
        high: the number that level ``levels - 1`` becomes.

    Raises:
        InputError: a size below 1, levels outside 2..256, or a range that is empty or not finite.
    """

    channels: int
    height: int
    width: int
    levels: int = 256
    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if min(self.channels, self.height, self.width) < 1:
            raise InputError(f"an image needs at least one channel and one pixel, found {self.shape}")
        if not 2 <= self.levels <= 256:
            raise InputError(f"the number of grey levels must be in 2..256, found {self.levels}")
        if not -math.inf < self.low < self.high < math.inf:
            raise InputError(f"the data range must be finite and not empty, found [{self.low}, {self.high}]")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.channels, self.height, self.width

    @property
    def dims(self) -> int:
        """d = C * H * W, the number of values in one image."""
        return self.channels * self.height * self.width

    @property
    def level_width(self) -> float:
        """Distance between neighbouring grey levels, in units of x_0."""
        return (self.high - self.low) / (self.levels - 1)

    @property
    def var_bound(self) -> float:
        """The largest variance a variable in [low, high] can have: ((high - low) / 2)^2."""
        return ((self.high - self.low) / 2) ** 2

    def encode(self, pixels: Tensor) -> Tensor:
        """Grey levels to x_0: uint8 in 0..levels-1 of any shape -> float32 in [low, high]."""
        return pixels.to(torch.float32).mul_(self.level_width).add_(self.low)

    def decode(self, x_0: Tensor) -> Tensor:
        """x_0 to the nearest grey level: float of any shape -> uint8 in 0..levels-1, clamped."""
        level = x_0.sub(self.low).div_(self.level_width).round_()
        return level.clamp_(0, self.levels - 1).to(torch.uint8)

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain values, for metadata."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Self:
        """The inverse of :meth:`as_dict`."""
        return cls(**fields)

    def __str__(self) -> str:
        return f"{self.height}x{self.width}, {self.channels} channel(s), {self.levels} grey levels"
