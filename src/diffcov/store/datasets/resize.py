"""Pictures of any size made squares of one size, and without transparency: what is kept of each, and how.

Pixels are averaged by Pillow's Lanczos filter, whose support grows with the reduction (antialiased), as the tools that
write StyleGAN's and EDM's data sets do. Pictures are never enlarged.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffcov.errors import InputError, UsageError

__all__ = ["CROPS", "Resize"]

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels, the last two outside."""


def _centre(image: Image.Image, size: int) -> Box:
    """The largest square in the middle."""
    side = min(image.height, image.width)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return left, top, left + side, top + side


def _somewhere(image: Image.Image, size: int) -> Box:
    """A square somewhere, its side :data:`LEAST` to 1 of the shorter side and at least ``size``.

    The picture's own pixels draw side and place: whoever reads it, in whatever order, keeps the same part.
    """
    draw = np.random.default_rng(zlib.crc32(image.tobytes()))
    shorter = min(image.height, image.width)
    side = int(draw.integers(max(size, math.ceil(LEAST * shorter)), shorter, endpoint=True))
    left = int(draw.integers(0, image.width - side, endpoint=True))
    top = int(draw.integers(0, image.height - side, endpoint=True))
    return left, top, left + side, top + side


def _whole(image: Image.Image, size: int) -> Box:
    """All of it, which is stretched where it is no square."""
    return 0, 0, image.width, image.height


LEAST = 0.8
"""Of the shorter side, the smallest part that a random crop keeps, as guided-diffusion's loader does."""
CROPS: Mapping[str, Callable[[Image.Image, int], Box]] = {"center": _centre, "random": _somewhere, "none": _whole}
"""Name -> (picture, the size it will have) -> the part that becomes the square."""


@dataclass(frozen=True)
class Resize:
    """What is done to every picture before anything else sees it.

    Args:
        size: N; pictures become N x N pixels. None leaves their sizes.
        crop: a name in :data:`CROPS`.
        drop_alpha: leave out alpha channels; colours stay as they are stored.

    Raises:
        UsageError: a size below 1, or another crop.
    """

    size: int | None = None
    crop: str = "center"
    drop_alpha: bool = False

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise UsageError(f"--size must be at least 1, found {self.size}")
        if self.crop not in CROPS:
            raise UsageError(f"--crop must be one of {', '.join(CROPS)}, found {self.crop!r}")

    def as_dict(self) -> dict[str, Any]:
        """The fields by the names of the options, for provenance and settings; what is not done is left out."""
        sized = {} if self.size is None else {"size": self.size, "crop": self.crop}
        return {**sized, **({"drop_alpha": True} if self.drop_alpha else {})}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self | None:
        """What :meth:`as_dict` put among other fields; None where pictures were taken as they are."""
        size, drop_alpha = fields.get("size"), bool(fields.get("drop_alpha"))
        if size is None:
            return cls(drop_alpha=True) if drop_alpha else None
        return cls(size, fields["crop"], drop_alpha)

    def __str__(self) -> str:
        sized = [] if self.size is None else [f"--size {self.size} --crop {self.crop}"]
        return " ".join([*sized, *(["--drop-alpha"] if self.drop_alpha else [])])

    def shape(self, channels: int, height: int, width: int) -> tuple[int, int, int]:
        """(C, H, W) of what :meth:`array` makes of such pictures."""
        kept = 3 if channels == 4 and self.drop_alpha else channels
        return (kept, height, width) if self.size is None else (kept, self.size, self.size)

    def picture(self, image: Image.Image, called: str) -> Image.Image:
        """One picture of Pillow's modes L, RGB and RGBA, of its size; ``called`` is what messages call it.

        Raises:
            InputError: it is smaller than the size.
        """
        height, width = image.height, image.width
        if self.size is None or (height, width) == (self.size, self.size):
            return image
        if min(height, width) < self.size:
            raise InputError(
                f"{called} is {height}x{width} (height x width), and --size {self.size} would enlarge it: choose "
                f"--size {min(height, width)} or less, or remove it"
            )
        kept = image.crop(CROPS[self.crop](image, self.size))  # resize(box=...) would look beyond the box
        return kept.resize((self.size, self.size), Image.Resampling.LANCZOS)

    def array(self, pixels: NDArray[np.uint8], where: str) -> NDArray[np.uint8]:
        """Pictures (n, C, H, W) with C one of 1, 3, 4 -> as :meth:`shape` says; ``where`` they are from, for messages.

        Raises:
            InputError: they are smaller than the size.
        """
        if self.drop_alpha and pixels.shape[1] == 4:
            pixels = pixels[:, :3]
        count, channels, height, width = pixels.shape
        if self.size is None or (height, width) == (self.size, self.size):
            return pixels
        out = np.empty((count, channels, self.size, self.size), dtype=np.uint8)
        for index, one in enumerate(pixels):
            planes = one[0] if channels == 1 else np.ascontiguousarray(one.transpose(1, 2, 0))
            small = np.asarray(self.picture(Image.fromarray(planes), f"an image in {where}"))
            out[index] = small[None] if channels == 1 else small.transpose(2, 0, 1)
        return out
