"""What the images are: shape, number of grey levels, range; the map between grey levels and numbers; and their labels.

The number of grey levels is data, not a constant: likelihoods in bits/dim and the cap on the last noise
depend on it (photographs have 256, the embedded digits 17).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Protocol, Self, TypeVar

import torch
from torch import Tensor

from diffcov.errors import InputError
from diffcov.transfer import sent

__all__ = ["UNLABELLED", "DataDescription", "ExampleSet", "Examples", "in_blocks"]

UNLABELLED = -1
"""The label of an image whose class is not told."""


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

    def same_pixels(self, other: DataDescription) -> bool:
        """Whether files of the two look alike: shape and grey levels; the range is not said by a file of images."""
        return (self.shape, self.levels) == (other.shape, other.levels)

    @property
    def level_width(self) -> float:
        """Distance between neighbouring grey levels, in units of x_0."""
        return (self.high - self.low) / (self.levels - 1)

    @property
    def var_bound(self) -> float:
        """The largest variance a variable in [low, high] can have: ((high - low) / 2)^2."""
        return ((self.high - self.low) / 2) ** 2

    def encode(self, pixels: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Grey levels to x_0: uint8 in 0..levels-1 of any shape -> ``dtype`` in [low, high]."""
        return pixels.to(dtype).mul_(self.level_width).add_(self.low)

    def decode(self, x_0: Tensor) -> Tensor:
        """x_0 to the nearest grey level: float of any shape -> uint8 in 0..levels-1, clamped."""
        level = x_0.sub(self.low).div_(self.level_width).round_()
        return level.clamp_(0, self.levels - 1).to(torch.uint8)

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain values, for metadata."""
        return {**asdict(self), "low": float(self.low), "high": float(self.high)}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Self:
        """The inverse of :meth:`as_dict`."""
        return cls(**fields)

    def __str__(self) -> str:
        return f"{self.height}x{self.width}, {self.channels} channel(s), {self.levels} grey levels"


@dataclass(frozen=True, eq=False)
class Examples:
    """Images, and the class of each where it is known.

    Args:
        images: (N, C, H, W) uint8 grey levels.
        labels: (N,) int64 in 0..classes-1, on the same device; None where classes are not known.

    Raises:
        InputError: other shapes or dtypes, or another number of labels than of images.
    """

    images: Tensor
    labels: Tensor | None = None

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise InputError(
                f"examples are uint8 images (N, C, H, W), found {self.images.dtype} of shape {tuple(self.images.shape)}"
            )
        if self.labels is not None and (self.labels.dtype != torch.int64 or self.labels.shape != (len(self),)):
            raise InputError(
                f"the labels of {len(self)} images are int64 ({len(self)},), "
                f"found {self.labels.dtype} of shape {tuple(self.labels.shape)}"
            )

    in_memory = True

    def __len__(self) -> int:
        return self.images.shape[0]

    def __getitem__(self, chosen: slice | Tensor) -> Examples:
        """Some of them, by a slice or by int64 positions on any device."""
        where = sent(chosen, self.images.device) if isinstance(chosen, Tensor) else chosen
        return Examples(self.images[where], None if self.labels is None else self.labels[where])

    @property
    def device(self) -> torch.device:
        """Where the images are."""
        return self.images.device

    def to(self, device: torch.device) -> Examples:
        """The same on another device."""
        return Examples(self.images.to(device), None if self.labels is None else self.labels.to(device))

    def unlabelled(self) -> Examples:
        """The images alone."""
        return Examples(self.images)

    def subset(self, chosen: Tensor) -> Examples:
        """Those at some positions."""
        return self[chosen]


class ExampleSet(Protocol):
    """Examples in memory, or ones that are read when they are indexed: what engines know of the data."""

    @property
    def labels(self) -> Tensor | None:
        """(N,) int64; None where classes are not known."""

    @property
    def in_memory(self) -> bool:
        """Whether indexing costs nothing."""

    @property
    def device(self) -> torch.device:
        """Where what is indexed will be."""

    def __len__(self) -> int: ...

    def __getitem__(self, chosen: slice | Tensor) -> Examples:
        """Some of them in memory, by a slice or by int64 positions on any device."""

    def to(self, device: torch.device) -> ExampleSet:
        """The same on another device."""

    def unlabelled(self) -> ExampleSet:
        """The images alone."""

    def subset(self, chosen: Tensor) -> ExampleSet:
        """Those at some positions, where the others are."""


Part = TypeVar("Part", covariant=True)


class _Sliced(Protocol[Part]):
    """Whatever is taken apart by slices."""

    def __len__(self) -> int: ...

    def __getitem__(self, chosen: slice, /) -> Part: ...


def in_blocks(whole: _Sliced[Part], size: int) -> Iterator[Part]:
    """All of something in order, so many of it at a time."""
    for start in range(0, len(whole), size):
        yield whole[start : start + size]
