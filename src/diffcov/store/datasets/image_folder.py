"""A folder of pictures, with or without subfolders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from diffcov.store.datasets.dataset_json import NAME
from diffcov.store.datasets.picture_tree import open_tree, split_names
from diffcov.store.datasets.pictures import is_picture, read_pictures
from diffcov.store.datasets.reader import Reader
from diffcov.store.datasets.resize import Resize
from diffcov.store.datasets.stored import Pixels, Stored

__all__ = ["IMAGE_FOLDER"]


def _names(root: Path) -> list[str]:
    """The pictures at and below ``root``, relative to it, with forward slashes; follows links to folders."""
    found: list[str] = []
    for folder, subfolders, files in os.walk(root, followlinks=True):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        relative = Path(folder).relative_to(root)
        found += [(relative / name).as_posix() for name in files]
    return [name for name in found if is_picture(name)]


def _has_test(path: Path) -> bool:
    return "test" in split_names(_names(path))


def _open(path: Path, split: str) -> Stored:
    def decode(names: Sequence[str], resize: Resize | None) -> Pixels:
        return read_pictures(names, lambda name: (path / name).read_bytes(), path, resize)

    listed = path / NAME
    return open_tree(_names(path), path, split, decode, listed.read_bytes() if listed.is_file() else None)


IMAGE_FOLDER = Reader("a folder of images", Path.is_dir, _has_test, _open)
