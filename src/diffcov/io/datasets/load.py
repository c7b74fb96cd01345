"""The one way in: a name or a path to images, by the first reader that recognises it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from diffcov.data import DataDescription
from diffcov.errors import InputError, UsageError
from diffcov.io.datasets.arrays import NPY, NPZ
from diffcov.io.datasets.cifar import CIFAR
from diffcov.io.datasets.dataset import ImageDataset
from diffcov.io.datasets.digits import read_digits
from diffcov.io.datasets.idx import IDX
from diffcov.io.datasets.image_folder import IMAGE_FOLDER
from diffcov.io.datasets.image_zip import IMAGE_ZIP
from diffcov.io.datasets.reader import Reader

__all__ = ["EMBEDDED", "READERS", "canonical_source", "load_images"]

EMBEDDED = {"digits": read_digits}
"""Data sets inside the package, by the word that names them; ``./digits`` is a folder of that name."""

READERS: tuple[Reader, ...] = (IDX, NPY, NPZ, CIFAR, IMAGE_ZIP, IMAGE_FOLDER)
"""Asked in this order: an npz is also a zip, and any folder could hold images, so these two stand last."""


def canonical_source(source: str) -> str:
    """A source as data sets remember it: an embedded set's word, or an absolute path."""
    return source if source in EMBEDDED else str(Path(source).expanduser().absolute())


def load_images(source: str, limit: int | None = None) -> ImageDataset:
    """Read a data set of images.

    Args:
        source: ``digits`` (embedded, 17 grey levels), or the path of any format in :data:`READERS` (256).
        limit: keep a fixed pseudo-random subset of this many images, in their stored order, and decode no
            others; None, or more than there are, keeps all.

    Returns:
        The images, uint8 (N, C, H, W), with their description.

    Raises:
        UsageError: a limit below 1.
        InputError: a path that is missing, of no known format, damaged, or without images.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"the limit on the number of images must be at least 1, found {limit}")
    if source in EMBEDDED:
        return EMBEDDED[source](limit)
    path = Path(canonical_source(source))
    try:
        if not source or not path.exists():
            raise InputError(f"no such file or folder: {source or '(empty)'}; give images with --data")
        images = _reader_of(path).read(path, limit)
    except OSError as error:
        raise InputError(f"cannot read {error.filename or path}: {error.strerror or error}") from error
    if not len(images):
        raise InputError(f"there is no image in {path}: a data set needs at least one")
    _, channels, height, width = images.shape
    # torch shares the memory, so it must be ours: a map of the file is copied here, a fresh array is not.
    owned = np.require(images, requirements=["C", "W", "E"])
    return ImageDataset(torch.from_numpy(owned), DataDescription(channels, height, width), str(path))


def _reader_of(path: Path) -> Reader:
    for reader in READERS:
        if reader.recognises(path):
            return reader
    known = "; ".join([*EMBEDDED, *(reader.reads for reader in READERS)])
    raise InputError(f"the format of {path} is not known. What can be read: {known}")
