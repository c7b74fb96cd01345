"""Pictures by their places, decoded when they are picked, and what was met among them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from diffcov.store.datasets.layout import Layout
from diffcov.store.datasets.pictures import Mixture, pictures_shape, read_pictures
from diffcov.store.datasets.resize import Resize
from diffcov.store.datasets.stored import Labels, Pixels, Positions, Stored

__all__ = ["PictureSet"]


@dataclass
class PictureSet:
    """The pictures of one split.

    Attributes:
        count: how many there are.
        name: place -> name.
        contents: name -> the bytes of that file.
        where: the folder or file that they are in, for messages.
        met: what was met in the largest part of them that was looked at.
    """

    count: int
    name: Callable[[int], str]
    contents: Callable[[str], bytes]
    where: Path
    met: Mixture = field(default_factory=Mixture)

    def pick(self, positions: Positions, resize: Resize | None) -> Pixels:
        """Those at some places, uint8 (n, C, H, W); see :func:`read_pictures`."""
        pixels, met = read_pictures(self._names(positions), self.contents, self.where, resize)
        self._remember(met)
        return pixels

    def shape(self, positions: Positions, resize: Resize | None) -> tuple[int, int, int]:
        """(C, H, W) of those; see :func:`pictures_shape`."""
        shape, met = pictures_shape(self._names(positions), self.contents, self.where, resize)
        self._remember(met)
        return shape

    def stored(self, labels: Labels | None, class_count: int | None, layout: Layout, scattered: bool = True) -> Stored:
        """The split, to pick from."""
        return Stored(
            self.count, self.pick, labels, class_count,
            shape=self.shape, scattered=scattered, layout=layout, met=lambda: self.met,
        )  # fmt: skip

    def _names(self, positions: Positions) -> list[str]:
        return [self.name(int(position)) for position in positions]

    def _remember(self, met: Mixture) -> None:
        """A batch says less of the set than all of it did."""
        if met.count >= self.met.count:
            self.met = met
