"""Pictures decoded once into one ``.npy`` in a folder of the user's, and mapped from there by every command after.

The file's name says which pictures of which source, as it was then: a source that changes is decoded anew.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from diffcov.data import in_blocks
from diffcov.errors import InputError
from diffcov.processes.base import current
from diffcov.store.atomic import atomic_write
from diffcov.store.datasets.large import LargeImages, at_once
from diffcov.store.datasets.resize import Resize
from diffcov.store.datasets.stored import Positions, Stored
from diffcov.store.datasets.walk import files_below

__all__ = ["decoded"]

VERSION = 2
"""Part of every name: another version decodes or resizes in another way."""


def decoded(
    folder: Path, source: Path, split: str, kept: Positions, resize: Resize | None, scanned: Callable[[], LargeImages]
) -> LargeImages:
    """The images of a source, from a file in the folder; it is written first if it is not there.

    Args:
        folder: of the user's choice; made if need be.
        source: the file or folder that the images come from.
        split: which part of it.
        kept: which images of that.
        resize: done to each.
        scanned: gives them as they are read from the source.

    Raises:
        InputError: a picture cannot be decoded, or the file in the folder is another's.
        OutputError: the folder cannot be written to; nothing is left behind.
    """
    path = folder / f"{_name(source, split, kept, resize)}.npy"
    current().once(lambda: _decode(path, scanned))
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise _not_ours(path) from error
    if array.dtype != np.uint8 or array.ndim != 4 or len(array) != len(kept):
        raise _not_ours(path)
    count, channels, height, width = array.shape
    return LargeImages(Stored.of_array(array), np.arange(count), (count, channels, height, width), None)


def _decode(path: Path, scanned: Callable[[], LargeImages]) -> None:
    """Write the file, unless it is there."""
    if path.is_file():
        return
    images = scanned()
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        _write(file, images)


def _not_ours(path: Path) -> InputError:
    return InputError(f"{path} is not what --cache keeps there: remove it, and it is decoded again")


def _write(file: BinaryIO, images: LargeImages) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": images.shape}
    np.lib.format.write_array_header_1_0(file, header)
    for block in in_blocks(images, at_once(math.prod(images.shape[1:]))):
        file.write(block.numpy().data)


def _name(source: Path, split: str, kept: Positions, resize: Resize | None) -> str:
    how = None if resize is None else resize.as_dict()
    state = hashlib.sha256(json.dumps([VERSION, str(source), split, how], sort_keys=True).encode())
    state.update(np.ascontiguousarray(kept).data)
    _walk(source, lambda text: state.update(os.fsencode(text)))
    return f"{source.stem or 'images'}-{state.hexdigest()[:24]}"


def _walk(source: Path, tell: Callable[[str], None]) -> None:
    """Names, sizes and times of change of all files at and below a path, in a fixed order."""
    if source.is_file():
        found = source.stat()
        tell(f"{found.st_size} {found.st_mtime_ns}\n")
        return
    for name in sorted(files_below(source).names):
        path = source / name
        if path.is_file():
            found = path.stat()
            tell(f"{name} {found.st_size} {found.st_mtime_ns}\n")
