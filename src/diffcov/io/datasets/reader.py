"""What a reader of one format is, and how it looks at a file before it says whether it knows it."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["GZIP_MAGIC", "Pixels", "Reader", "first_bytes"]

Pixels = NDArray[np.uint8]
"""Grey levels in 0..255; images are (N, C, H, W) unless a docstring says otherwise."""

GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class Reader:
    """One format.

    Args:
        reads: the format in words, as the refusal of an unknown file lists it.
        recognises: whether a path that exists is of this format; opens at most its beginning or its listing.
        read: (path, limit) -> uint8 (N, C, H, W), the kept images only; raises InputError.
    """

    reads: str
    recognises: Callable[[Path], bool]
    read: Callable[[Path, int | None], Pixels]


def first_bytes(path: Path, count: int) -> bytes:
    """The first ``count`` bytes of a file, after gunzip if need be; fewer where it ends; none of a folder."""
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        start = file.read(max(count, len(GZIP_MAGIC)))
    if not start.startswith(GZIP_MAGIC):
        return start[:count]
    try:
        with gzip.open(path) as file:
            return file.read(count)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        return b""
