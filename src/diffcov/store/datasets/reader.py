"""What a reader of one format is, and how it looks at a file before it says whether it knows it."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from diffcov.store.datasets.stored import Stored

__all__ = ["GZIP_MAGIC", "Reader", "first_bytes"]

GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class Reader:
    """One format.

    Args:
        reads: the format in words, as the refusal of an unknown file lists it.
        recognises: whether a path that exists is of this format; opens at most its beginning or its listing.
        splits: which of :data:`SPLITS` such a path holds, where it tells any apart; looks at names only.
        open: (path, split) -> the images and labels of that split, ``train`` or one that ``splits`` named. Raises
            InputError.
    """

    reads: str
    recognises: Callable[[Path], bool]
    splits: Callable[[Path], Collection[str]]
    open: Callable[[Path, str], Stored]


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
