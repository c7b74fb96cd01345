"""A folder of pictures, with or without subfolders."""

from __future__ import annotations

import os
from pathlib import Path

from diffcov.store.datasets.dataset_json import NAME
from diffcov.store.datasets.picture_tree import open_tree, split_names
from diffcov.store.datasets.pictures import is_picture
from diffcov.store.datasets.reader import Reader
from diffcov.store.datasets.stored import Stored

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
    listed = path / NAME
    told = listed.read_bytes() if listed.is_file() else None
    return open_tree(_names(path), path, split, lambda name: (path / name).read_bytes(), told)


IMAGE_FOLDER = Reader("a folder of images", Path.is_dir, _has_test, _open)
