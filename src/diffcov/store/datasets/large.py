"""Images that stay on disk: read by number when they are asked for, and the same as from memory."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from diffcov.data import Examples
from diffcov.store.datasets.resize import Resize
from diffcov.store.datasets.stored import Pixels, Positions, Stored, widen
from diffcov.transfer import sent

__all__ = ["BLOCK_BYTES", "LargeExamples", "LargeImages", "at_once", "owned"]

BLOCK_BYTES = 64 << 20
"""Bytes of images that are in memory at once where all of them are read one after the other."""


def at_once(dims: int) -> int:
    """How many images of so many values are in memory at once where all are read one after the other."""
    return max(1, BLOCK_BYTES // dims)


def owned(pixels: Pixels) -> Tensor:
    """A tensor in memory of our own: what lies in a map of a file is copied, a fresh array is not."""
    return torch.from_numpy(np.require(pixels, requirements=["C", "W", "E"]))


@dataclass(frozen=True, eq=False)
class LargeImages:
    """Images (N, C, H, W) uint8 that are read when they are indexed.

    Args:
        stored: where they are.
        kept: which of its images these are, any order.
        shape: (N, C, H, W).
        resize: done to each.
    """

    stored: Stored
    kept: Positions
    shape: tuple[int, int, int, int]
    resize: Resize | None

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def device(self) -> torch.device:
        """Where what is indexed will be: in the memory of the CPU."""
        return torch.device("cpu")

    @property
    def bytes(self) -> int:
        """What all of them would take in memory."""
        return int(np.prod(self.shape))

    def __getitem__(self, chosen: slice | Tensor) -> Tensor:
        """Some of them in memory, by a slice or by int64 positions, which may repeat."""
        wanted = self.kept[chosen if isinstance(chosen, slice) else chosen.cpu().numpy()]
        places, back = np.unique(wanted, return_inverse=True)
        if not len(places):
            return torch.empty((0, *self.shape[1:]), dtype=torch.uint8)
        found = self.stored.pick(places, self.resize)
        alike = widen(found, self.shape[1])  # these may be grey where others are not
        return owned(alike if np.array_equal(places, wanted) else alike[back])

    def subset(self, chosen: Tensor) -> LargeImages:
        """Those at some positions, still on disk."""
        kept = self.kept[chosen.cpu().numpy()]
        return replace(self, kept=kept, shape=(len(kept), *self.shape[1:]))


@dataclass(frozen=True, eq=False)
class LargeExamples:
    """What :class:`Examples` are, of images that stay on disk.

    Args:
        images: the images.
        labels: (N,) int64 in memory, or None.
        device: where examples come to be when they are read.
    """

    images: LargeImages
    labels: Tensor | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    in_memory = False

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, chosen: slice | Tensor) -> Examples:
        """Some of them, on the device, by a slice or by int64 positions on any device."""
        where = chosen.cpu() if isinstance(chosen, Tensor) else chosen
        labels = None if self.labels is None else sent(self.labels[where], self.device)
        return Examples(sent(self.images[where], self.device), labels)

    def to(self, device: torch.device) -> LargeExamples:
        """The same, read to another device; labels stay in the memory of the CPU until they are read."""
        return replace(self, device=device)

    def unlabelled(self) -> LargeExamples:
        """The images alone."""
        return replace(self, labels=None)

    def subset(self, chosen: Tensor) -> LargeExamples:
        """Those at some positions, still on disk."""
        labels = None if self.labels is None else self.labels[chosen.cpu()]
        return replace(self, images=self.images.subset(chosen), labels=labels)
