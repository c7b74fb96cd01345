"""One split of a data set as it lies in its source: nothing chosen from it yet, and pictures not yet decoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Self

import numpy as np
from numpy.typing import NDArray

from diffcov.store.datasets.layout import Layout
from diffcov.store.datasets.mixture import Mixture
from diffcov.store.datasets.resize import Resize

__all__ = ["Labels", "Pixels", "Positions", "Stored", "widen"]

Pixels = NDArray[np.uint8]
"""Grey levels in 0..255; images are (N, C, H, W) unless a docstring says otherwise."""

Labels = NDArray[np.int64]
"""Class numbers from 0, (N,)."""

Positions = NDArray[np.int64]
"""Places in a split, strictly increasing, in 0..count-1."""


@dataclass(frozen=True, eq=False)
class Stored:
    """The images of one split, to pick from, and their labels.

    Args:
        count: number of images, 0 allowed: who opens a source need not know what is too few.
        pick: (n positions, how pictures are resized, None as they are) -> uint8 (n, C, H, W); reads no others where the
            format allows it.
        labels: class numbers in the order of the images, None where the source has none.
        class_count: number of classes if the source knows it better than its largest label; else None.
        levels: number of grey levels (2..256).
        shape: (n positions, how they are resized) -> (C, H, W) that the images there have together, from what stands
            before their pixels; None where the source is in memory already and there is nothing to be saved.
        scattered: whether a few images anywhere are read about as fast as neighbours.
        layout: what the source says beside its images.
        met: what was met among the images so far, once they were picked or their shape was asked.
    """

    count: int
    pick: Callable[[Positions, Resize | None], Pixels]
    labels: Labels | None = None
    class_count: int | None = None
    levels: int = 256
    shape: Callable[[Positions, Resize | None], tuple[int, int, int]] | None = None
    scattered: bool = True
    layout: Layout = field(default_factory=Layout)
    met: Callable[[], Mixture] = Mixture

    @classmethod
    def of_array(cls, images: Pixels, labels: Labels | None = None, layout: Layout | None = None) -> Self:
        """Images uint8 (N, C, H, W) in memory or in a memory map, of which only the picked ones are read."""
        shape = partial(_shape, images) if isinstance(images, np.memmap) else None
        return cls(len(images), partial(_take, images), labels, shape=shape, layout=layout or Layout())


def widen(pixels: Pixels, channels: int) -> Pixels:
    """(..., c, H, W) to ``channels`` >= c: grey repeated, alpha opaque."""
    if pixels.shape[-3] == channels:
        return pixels
    colour = np.repeat(pixels, 3, axis=-3) if pixels.shape[-3] == 1 else pixels
    if channels == 3:
        return colour
    opaque = np.full_like(pixels[..., :1, :, :], 255)
    return np.concatenate((colour, opaque), axis=-3)


def _take(images: Pixels, positions: Positions, resize: Resize | None) -> Pixels:
    """All of them without a copy: positions never repeat, so as many as there are images means all."""
    chosen = images if len(positions) == len(images) else images[positions]
    return chosen if resize is None else resize.array(chosen, "the data")


def _shape(images: Pixels, _positions: Positions, resize: Resize | None) -> tuple[int, int, int]:
    _, channels, height, width = images.shape
    return (channels, height, width) if resize is None else resize.shape(channels, height, width)
