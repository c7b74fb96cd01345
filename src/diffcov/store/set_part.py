"""A part of a set of samples: grey levels of some of its images and their manifest, in a folder named by numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffcov.errors import InputError
from diffcov.processes.base import current
from diffcov.store.sample_set import MANIFEST, load_manifest
from diffcov.store.seal import file_digest, manifest_digest, sealed

__all__ = ["SetPart", "fill_part", "numbers_of", "part_name", "span", "spans"]

NAME = re.compile(r"(\d{6,})-(\d{6,})")
PIXELS = "pixels.npy"
SEAL = ("files", "digest")
"""What a manifest says of bytes on disk, which are others once the part is in a set."""
AT_ONCE = 256
"""Images that are read together."""


@dataclass(frozen=True)
class SetPart:
    """A part that is complete.

    Attributes:
        path: its folder.
        numbers: of its images.
    """

    path: Path
    numbers: range

    def manifest(self) -> dict[str, Any]:
        """What was recorded when it was drawn, without its seal. InputError if it is damaged."""
        return {name: value for name, value in self._recorded().items() if name not in SEAL}

    def check(self) -> None:
        """Refuse (InputError) a part that is not, byte for byte, what was written when it was drawn."""
        found = self._recorded()
        if found.get("digest") != manifest_digest(found):
            raise self._damaged(f"{MANIFEST} has changed since it was written")
        try:
            digest = file_digest(self.path / PIXELS)
        except (OSError, InputError) as error:
            raise self._damaged(error) from error
        if found["files"].get(PIXELS) != digest:
            raise self._damaged(f"{PIXELS} has changed since it was written")

    def batches(self, shape: tuple[int, ...]) -> Iterator[Tensor]:
        """Its images, (B, C, H, W) uint8 grey levels each. InputError if it is damaged."""
        try:
            found = np.load(self.path / PIXELS, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise self._damaged(error) from error
        if found.dtype != np.uint8 or found.shape != (len(self.numbers), *shape):
            raise self._damaged(f"it holds {found.dtype} of shape {found.shape}")
        for start in range(0, len(found), AT_ONCE):
            yield torch.from_numpy(np.array(found[start : start + AT_ONCE]))

    def _recorded(self) -> dict[str, Any]:
        try:
            return load_manifest(self.path)
        except (OSError, InputError) as error:
            raise self._damaged(error) from error

    def _damaged(self, why: object) -> InputError:
        return InputError(f"{self.path} is damaged ({why}); remove it, and draw this part again")


def fill_part(
    folder: Path | None, batches: Iterable[Tensor], shape: tuple[int, ...], manifest: Mapping[str, Any]
) -> None:
    """Write a part: all processes make its images together, the first one writes them.

    Args:
        folder: the folder to fill, which the first process has claimed.
        batches: (B, C, H, W) uint8 grey levels each.
        shape: (C, H, W).
        manifest: what to record; its ``count`` is that of the images. The digests of the pixels and its own are added.

    Raises:
        OSError: the file system refuses.
    """
    if folder is None or not current().first:
        for _ in batches:
            pass
        return
    with (folder / PIXELS).open("wb") as pixels:
        header = {"descr": "|u1", "fortran_order": False, "shape": (manifest["count"], *shape)}
        np.lib.format.write_array_header_1_0(pixels, header)
        for batch in batches:
            pixels.write(batch.contiguous().numpy().tobytes())
    (folder / MANIFEST).write_text(json.dumps(sealed(folder, manifest), indent=2) + "\n", encoding="utf-8")


def part_name(numbers: range) -> str:
    """The name of a part's folder."""
    return f"{numbers.start:06d}-{numbers.stop - 1:06d}"


def numbers_of(name: str) -> range | None:
    """The numbers that a name of a part's folder tells; None for another name."""
    found = NAME.fullmatch(name)
    return None if found is None else range(int(found[1]), int(found[2]) + 1)


def span(numbers: range) -> str:
    """A range of image numbers in words, its last one included."""
    return f"{numbers.start}-{numbers.stop - 1}" if len(numbers) > 1 else str(numbers.start)


def spans(numbers: Iterable[range]) -> str:
    """Ranges of image numbers in words, such as "0-999, 2000-2999"; "none" if there are none."""
    joined = list[range]()
    for one in numbers:
        if joined and joined[-1].stop == one.start:
            joined[-1] = range(joined[-1].start, one.stop)
        else:
            joined.append(one)
    return ", ".join(map(span, joined)) or "none"
