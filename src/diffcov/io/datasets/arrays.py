"""numpy arrays of images: ``.npy``, and ``.npz`` as sample sets are published (uint8 NHWC, ``arr_0``)."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffcov.errors import InputError
from diffcov.io.datasets.reader import Pixels, Reader, first_bytes
from diffcov.io.datasets.subset import take

__all__ = ["NPY", "NPZ"]

_CHANNELS = (1, 3, 4)
_KEYS = ("arr_0", "images")
_MAGIC = b"\x93NUMPY"
_DAMAGE = (ValueError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, NotImplementedError)
"""What numpy and zipfile raise for bytes that are not what they should be."""


def _images(array: NDArray[Any], path: Path, limit: int | None) -> Pixels:
    """The kept images of an array NHWC, NCHW or NHW (grey), as NCHW.

    The last axis is the channel if it has 1, 3 or 4 entries, else the second one is, on the same condition.

    Raises:
        InputError: a dtype other than uint8, or a shape of none of the three layouts.
    """
    if array.dtype != np.uint8:
        raise InputError(
            f"{path} holds {array.dtype} values, and images are uint8 in 0..255: "
            "scale, round and clip to that range first"
        )
    if array.ndim == 3:
        return take(array, limit)[:, None]
    if array.ndim == 4 and array.shape[3] in _CHANNELS:
        return take(array, limit).transpose(0, 3, 1, 2)
    if array.ndim == 4 and array.shape[1] in _CHANNELS:
        return take(array, limit)
    raise InputError(
        f"{path} holds an array of shape {array.shape}: "
        "images are (N, H, W, C), (N, C, H, W) or (N, H, W) with C one of 1, 3, 4"
    )


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} is no complete array of plain numbers ({error}): write it again")


def _is_npy(path: Path) -> bool:
    return path.is_file() and (path.suffix == ".npy" or first_bytes(path, len(_MAGIC)) == _MAGIC)


def _read_npy(path: Path, limit: int | None) -> Pixels:
    """The images of a ``.npy``, uint8 (N, C, H, W), through a memory map: only the kept ones are read."""
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    return _images(array, path, limit)


def _is_npz(path: Path) -> bool:
    if not path.is_file():
        return False
    if path.suffix in (".npz", ".zip") or not zipfile.is_zipfile(path):
        return path.suffix == ".npz"
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def _read_npz(path: Path, limit: int | None) -> Pixels:
    """The images of a ``.npz``, uint8 (N, C, H, W): key ``arr_0``, else ``images``, else the only array."""
    try:
        # Not numpy.load: it leaves the file open when the archive is damaged.
        with zipfile.ZipFile(path) as archive:
            keys = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
            candidates = [key for key in _KEYS if key in keys] or (keys if len(keys) == 1 else [])
            if not candidates:
                raise InputError(
                    f"{path} holds the arrays {', '.join(keys) or '(none)'}: save the images as 'arr_0' or 'images'"
                )
            with archive.open(f"{candidates[0]}.npy") as member:
                array: NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False)
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    return _images(array, path, limit)


NPY = Reader("a .npy of uint8 images", _is_npy, _read_npy)
NPZ = Reader("a .npz of uint8 images", _is_npz, _read_npz)
