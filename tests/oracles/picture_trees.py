"""Folders and zips of tiny pictures, each known by its grey."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from PIL import Image

from diffcov.store.datasets import load_images

__all__ = ["Write", "both", "greys", "labels", "picture", "write_folder", "write_zip"]


def picture(grey: int) -> bytes:
    with io.BytesIO() as file:
        Image.new("L", (3, 2), grey).save(file, "PNG")
        return file.getvalue()


def write_folder(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        path = root / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root / "tree"


def write_zip(root: Path, files: Mapping[str, bytes]) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(root / "tree.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return root / "tree.zip"


Write = Callable[[Path, Mapping[str, bytes]], Path]
both = pytest.mark.parametrize("write", [write_folder, write_zip])


def greys(source: Path, split: str = "train", limit: int | None = None) -> list[int]:
    """The grey of each picture: which picture it is."""
    grey: list[int] = load_images(str(source), limit, split).images[:, 0, 0, 0].tolist()
    return grey


def labels(source: Path, split: str = "train", limit: int | None = None) -> list[int] | None:
    found = load_images(str(source), limit, split).labels
    return None if found is None else found.tolist()
