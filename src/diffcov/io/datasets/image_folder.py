"""A folder of pictures, with or without subfolders."""

from __future__ import annotations

import os
from pathlib import Path

from diffcov.io.datasets.pictures import is_picture, read_pictures
from diffcov.io.datasets.reader import Pixels, Reader

__all__ = ["IMAGE_FOLDER"]


def _names(root: Path) -> list[str]:
    """The pictures at and below ``root``, relative to it, with forward slashes; follows links to folders."""
    found: list[str] = []
    for folder, subfolders, files in os.walk(root, followlinks=True):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        relative = Path(folder).relative_to(root)
        found += [(relative / name).as_posix() for name in files]
    return [name for name in found if is_picture(name)]


def _read(path: Path, limit: int | None) -> Pixels:
    """Its pictures, sorted by relative path, uint8 (N, C, H, W); subfolders carry no meaning."""
    return read_pictures(_names(path), lambda name: (path / name).read_bytes(), path, limit)


IMAGE_FOLDER = Reader("a folder of images", Path.is_dir, _read)
