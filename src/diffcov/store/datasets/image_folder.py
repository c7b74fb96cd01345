"""A folder of pictures, with or without subfolders."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from diffcov.store.datasets.picture_tree import open_tree, split_names
from diffcov.store.datasets.pictures import is_picture
from diffcov.store.datasets.reader import Reader
from diffcov.store.datasets.stored import Stored
from diffcov.store.datasets.walk import files_below

__all__ = ["IMAGE_FOLDER"]


def _names(root: Path) -> tuple[list[str], tuple[str, ...]]:
    """The pictures at and below ``root``, relative to it, with forward slashes, and what is to be told of links."""
    walk = files_below(root)
    left_out = sorted(walk.left_out)
    remarks = (f"{len(left_out)} link(s) to what is there already count once ({left_out[0]})",) if left_out else ()
    return [name for name in walk.names if is_picture(name)], remarks


def _splits(path: Path) -> Collection[str]:
    return split_names(_names(path)[0], path)


def _open(path: Path, split: str) -> Stored:
    names, remarks = _names(path)

    def listed(name: str) -> bytes | None:
        return (path / name).read_bytes() if (path / name).is_file() else None

    return open_tree(names, path, split, lambda name: _content(path / name), listed, remarks)


def _content(path: Path) -> bytes:
    """What a file holds; of a pipe, which might never end, nothing is read."""
    if path.exists() and not path.is_file():
        raise ValueError("it is no ordinary file")
    return path.read_bytes()


IMAGE_FOLDER = Reader("a folder of images", Path.is_dir, _splits, _open)
