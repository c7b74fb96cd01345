"""idx, the format of MNIST and its relatives: a big-endian header, then the bytes; often gzipped."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from diffcov.errors import InputError
from diffcov.io.datasets.reader import GZIP_MAGIC, Pixels, Reader, first_bytes
from diffcov.io.datasets.subset import take

__all__ = ["IDX"]

_TRAINING_IMAGES = ("train-images-idx3-ubyte", "train-images-idx3-ubyte.gz")
_IMAGES = bytes((0, 0, 8, 3))
_LABELS = bytes((0, 0, 8, 1))
_TYPES = (0x08, 0x09, 0x0B, 0x0C, 0x0D, 0x0E)
"""uint8, int8, int16, int32, float32, float64: the third byte of a header."""
_HEADER = struct.Struct(">4s3I")


def _training_file(folder: Path) -> Path | None:
    candidates = (folder / name for name in _TRAINING_IMAGES)
    return next((path for path in candidates if path.is_file()), None)


def _recognises(path: Path) -> bool:
    if path.is_dir():
        return _training_file(path) is not None
    magic = first_bytes(path, 4)
    return len(magic) == 4 and magic[:2] == b"\0\0" and magic[2] in _TYPES and 1 <= magic[3] <= 4


def _stored_bytes(path: Path) -> Pixels:
    """The whole file, uint8 (size,), gunzipped; a plain one as a memory map."""
    with path.open("rb") as file:
        gzipped = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    if not gzipped:
        return np.memmap(path, dtype=np.uint8, mode="r")
    try:
        with gzip.open(path) as file:
            return np.frombuffer(file.read(), dtype=np.uint8)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path} is truncated or damaged ({error}): fetch it again") from error


def _read(path: Path, limit: int | None) -> Pixels:
    """The images of an idx file, or the training images of a folder: uint8 (N, 1, H, W)."""
    path = _training_file(path) or path
    stored = _stored_bytes(path)
    magic = stored[:4].tobytes()
    if magic == _LABELS:
        raise InputError(f"{path} holds labels, not images: name the file of images beside it")
    if magic != _IMAGES:
        raise InputError(
            f"{path} is an idx file of another kind (magic 0x{magic.hex()}): "
            "images are uint8 (N, H, W), magic 0x00000803"
        )
    if stored.size < _HEADER.size:
        raise InputError(f"{path} is truncated within its header ({stored.size} bytes): fetch it again")
    _, count, height, width = _HEADER.unpack(stored[: _HEADER.size].tobytes())
    promised, found = count * height * width, stored.size - _HEADER.size
    if found != promised:
        state = "truncated" if found < promised else "damaged"
        raise InputError(
            f"{path} is {state}: {count} images of {height}x{width} are {promised} bytes, found {found}; fetch it again"
        )
    return take(stored[_HEADER.size :].reshape(count, 1, height, width), limit)


IDX = Reader("an idx file of images (.gz too) or a folder with train-images-idx3-ubyte", _recognises, _read)
