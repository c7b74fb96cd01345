"""idx, the format of MNIST and its relatives: a big-endian header, then the bytes; often gzipped."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Collection
from pathlib import Path

import numpy as np

from diffcov.errors import InputError
from diffcov.store.datasets.layout import Layout
from diffcov.store.datasets.reader import GZIP_MAGIC, Reader, first_bytes
from diffcov.store.datasets.stored import Labels, Pixels, Stored

__all__ = ["IDX"]

_FILES = {
    "train": ("train-images-idx3-ubyte", "train-images.idx3-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-images.idx3-ubyte"),
}
"""Split -> the names that its file of images goes by: with a dash as published, with a dot as some tools unpack it."""
_IMAGES = bytes((0, 0, 8, 3))
_LABELS = bytes((0, 0, 8, 1))
_TYPES = (0x08, 0x09, 0x0B, 0x0C, 0x0D, 0x0E)
"""uint8, int8, int16, int32, float32, float64: the third byte of a header."""


def _file(folder: Path, *names: str) -> Path | None:
    """The file of the first of some names in a folder, plain or gzipped."""
    found = (folder / f"{name}{packed}" for name in names for packed in ("", ".gz"))
    return next((path for path in found if path.is_file()), None)


def _recognises(path: Path) -> bool:
    if path.is_dir():
        return _file(path, *_FILES["train"]) is not None
    magic = first_bytes(path, 4)
    return len(magic) == 4 and magic[:2] == b"\0\0" and magic[2] in _TYPES and 1 <= magic[3] <= 4


def _splits(path: Path) -> Collection[str]:
    return [split for split, names in _FILES.items() if path.is_dir() and _file(path, *names) is not None]


def _count(path: Path) -> int:
    """How many images a file says that it has."""
    return int.from_bytes(first_bytes(path, 8)[4:], "big")


def _stored_bytes(path: Path) -> Pixels:
    """The whole file, uint8 (size,), gunzipped; a plain one as a memory map."""
    with path.open("rb") as file:
        start = file.read(len(GZIP_MAGIC))
    if not start:
        return np.empty(0, dtype=np.uint8)  # nothing that could be mapped
    if start != GZIP_MAGIC:
        return np.memmap(path, dtype=np.uint8, mode="r")
    try:
        with gzip.open(path) as file:
            return np.frombuffer(file.read(), dtype=np.uint8)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path} is truncated or damaged ({error}): fetch it again") from error


def _entries(path: Path, stored: Pixels) -> Pixels:
    """What follows the header, in the shape that the header states: (N, H, W) of images, (N,) of labels."""
    axes = int(stored[3])
    header = 4 + 4 * axes
    if stored.size < header:
        raise InputError(f"{path} is truncated within its header ({stored.size} bytes): fetch it again")
    shape = [int(size) for size in stored[4:header].view(">u4")]
    promised, found = math.prod(shape), stored.size - header
    if found != promised:
        state = "truncated" if found < promised else "damaged"
        unit = "labels" if axes == 1 else f"images of {'x'.join(map(str, shape[1:]))}"
        raise InputError(f"{path} is {state}: {shape[0]} {unit} are {promised} bytes, found {found}; fetch it again")
    return stored[header:].reshape(shape)


def _images(path: Path) -> Pixels:
    """The images of an idx file, uint8 (N, 1, H, W)."""
    stored = _stored_bytes(path)
    magic = stored[:4].tobytes()
    if magic == _LABELS:
        raise InputError(f"{path} holds labels, not images: name the file of images beside it")
    if magic != _IMAGES:
        raise InputError(
            f"{path} is an idx file of another kind (magic 0x{magic.hex()}): "
            "images are uint8 (N, H, W), magic 0x00000803"
        )
    return _entries(path, stored)[:, None]


def _beside(images: Path) -> Path | None:
    """The file of labels beside one of images, by the name that MNIST's would have; None where there is none."""
    name = images.name.removesuffix(".gz")
    for sign, other in (("-", "."), (".", "-")):
        if f"images{sign}idx3" in name:
            names = [name.replace(f"images{sign}idx3", f"labels{one}idx1") for one in (sign, other)]
            return _file(images.parent, *names)
    return None


def _labels(path: Path | None) -> Labels | None:
    """The labels in a file."""
    if path is None:
        return None
    stored = _stored_bytes(path)
    magic = stored[:4].tobytes()
    if magic != _LABELS:
        raise InputError(
            f"{path} holds no labels (magic 0x{magic.hex()}): labels are uint8 (N,), magic 0x00000801; "
            "fetch it again, or move it away to use the images without labels"
        )
    return _entries(path, stored).astype(np.int64)


def _open(path: Path, split: str) -> Stored:
    """A split of a folder, or the one set in a file."""
    images = (_file(path, *_FILES[split]) if path.is_dir() else None) or path
    files = {name: _file(path, *_FILES[name]) for name in _splits(path)} or {"train": images}
    beside = _beside(images)
    counts = {name: _count(file) for name, file in files.items() if file is not None}
    return Stored.of_array(_images(images), _labels(beside), Layout(counts, None if beside is None else beside.name))


IDX = Reader("an idx file of images (.gz too) or a folder with train-images-idx3-ubyte", _recognises, _splits, _open)
