"""Files of Git-LFS that stand for others: what a clone holds that fetched no large files, models and images alike."""

from __future__ import annotations

from pathlib import Path

from diffcov.errors import InputError

__all__ = ["refuse_pointer"]

POINTER = b"version https://git-lfs"
"""The bytes that such a file begins with."""


def refuse_pointer(path: Path) -> None:
    """Refuse (InputError) a file of Git-LFS that stands for another; OSError if it cannot be read."""
    with path.open("rb") as stream:
        if stream.read(len(POINTER)) == POINTER:
            raise InputError(f"{path} is a Git-LFS pointer, not the file itself; fetch it with git lfs pull")
