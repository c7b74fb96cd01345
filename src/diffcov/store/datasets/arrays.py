"""numpy arrays of images: ``.npy``, and ``.npz`` as sample sets (uint8 NHWC, ``arr_0``), Keras and MedMNIST do."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffcov.errors import InputError
from diffcov.store.datasets.layout import Layout
from diffcov.store.datasets.reader import Reader, first_bytes
from diffcov.store.datasets.stored import Labels, Pixels, Stored
from diffcov.store.datasets.stored_member import mapped_array
from diffcov.store.zips import DAMAGE, BadZipFile, open_zip

__all__ = ["NPY", "NPZ"]

_CHANNELS = (1, 3, 4)
_IMAGE_KEYS = {
    "train": ("arr_0", "images", "x_train", "train_images"),
    "val": ("val_images", "x_val"),
    "test": ("test_images", "x_test"),
}
_LABEL_KEYS = {
    "train": ("labels", "label", "y", "y_train", "train_labels", "arr_1"),
    "val": ("val_labels", "y_val"),
    "test": ("test_labels", "y_test"),
}
_MAGIC = b"\x93NUMPY"


def _images(array: NDArray[Any], path: Path) -> Pixels:
    """An array NHWC, NCHW or NHW (grey), as NCHW.

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
        return array[:, None]
    if array.ndim == 4 and array.shape[3] in _CHANNELS:
        return array.transpose(0, 3, 1, 2)
    if array.ndim == 4 and array.shape[1] in _CHANNELS:
        return array
    raise InputError(
        f"{path} holds an array of shape {array.shape}: "
        "images are (N, H, W, C), (N, C, H, W) or (N, H, W) with C one of 1, 3, 4"
    )


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} is no complete array of plain numbers ({error}): write it again")


def _is_npy(path: Path) -> bool:
    return path.is_file() and (path.suffix == ".npy" or first_bytes(path, len(_MAGIC)) == _MAGIC)


def _npy_splits(_path: Path) -> Collection[str]:
    return ()


def _open_npy(path: Path, _split: str) -> Stored:
    """The images of a ``.npy`` through a memory map."""
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except DAMAGE as error:
        raise _damaged(path, error) from error
    images = _images(array, path)
    return Stored.of_array(images, layout=Layout({"train": len(images)}))


def _is_npz(path: Path) -> bool:
    if not path.is_file():
        return False
    if path.suffix in (".npz", ".zip") or not zipfile.is_zipfile(path):
        return path.suffix == ".npz"
    try:
        with open_zip(path) as archive:
            names = archive.namelist()
    except BadZipFile:
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def _keys(archive: zipfile.ZipFile) -> list[str]:
    return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]


def _npz_splits(path: Path) -> Collection[str]:
    try:
        with open_zip(path) as archive:
            keys = set(_keys(archive))
    except DAMAGE as error:
        raise _damaged(path, error) from error
    found = [split for split, names in _IMAGE_KEYS.items() if keys & set(names)]
    return found if "train" in found else ()


def _count(archive: zipfile.ZipFile, key: str) -> int:
    """How many images an array has, by its header alone."""
    with archive.open(f"{key}.npy") as member:
        version = np.lib.format.read_magic(member)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, _ = read(member)
    return int(shape[0]) if shape else 0


def _labels(
    keys: list[str], read: Callable[[str], NDArray[Any]], split: str, count: int
) -> tuple[Labels | None, Layout]:
    """The first array of whole numbers, (N,) or a column (N, 1), under a name that labels have; others are no labels.

    Keras and MedMNIST keep a column. ``arr_1`` is the name of whatever was saved second, so it counts only if there is
    one number per image.
    """
    remarks: tuple[str, ...] = ()
    for key in _LABEL_KEYS[split]:
        if key in keys:
            array = read(key)
            column = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
            fits = key != "arr_1" or column.shape == (count,)
            if column.ndim == 1 and column.dtype.kind in "iu" and fits:
                return column.astype(np.int64), Layout(labels_from=f"the array {key}")
            remarks += (f"the array {key} ({array.dtype}, {array.shape}) has no class for each image, and is left out",)
    return None, Layout(remarks=remarks)


def _open_npz(path: Path, split: str) -> Stored:
    """A split of a ``.npz``; for training key ``arr_0``, else ``images``, ``x_train``, else the only array."""
    try:
        # Not numpy.load: it leaves the file open when the archive is damaged.
        with open_zip(path) as archive:

            def read(key: str) -> NDArray[Any]:
                with archive.open(f"{key}.npy") as member:
                    array: NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False)
                return array

            keys = _keys(archive)
            candidates = [key for key in _IMAGE_KEYS[split] if key in keys] or (keys if len(keys) == 1 else [])
            if not candidates:
                raise InputError(
                    f"{path} holds the arrays {', '.join(keys) or '(none)'}: save the images as 'arr_0' or 'images'"
                )
            member = archive.getinfo(f"{candidates[0]}.npy")
            mapped = mapped_array(path, member)
            images = _images(read(candidates[0]) if mapped is None else mapped, path)
            labels, layout = _labels(keys, read, split, len(images))
            first = {part: next((key for key in names if key in keys), None) for part, names in _IMAGE_KEYS.items()}
            held = {part: _count(archive, key) for part, key in first.items() if key is not None and part != split}
            counts = {part: {**held, split: len(images)}.get(part) for part in _IMAGE_KEYS if part in (*held, split)}
            return Stored.of_array(images, labels, replace(layout, splits=counts))
    except DAMAGE as error:
        raise _damaged(path, error) from error


NPY = Reader("a .npy of uint8 images", _is_npy, _npy_splits, _open_npy)
NPZ = Reader("a .npz of uint8 images", _is_npz, _npz_splits, _open_npz)
