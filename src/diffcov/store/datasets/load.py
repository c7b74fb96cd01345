"""The one way in: a name or a path to images, by the first reader that recognises it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diffcov.data import DataDescription
from diffcov.errors import InputError, UsageError
from diffcov.store.datasets.arrays import NPY, NPZ
from diffcov.store.datasets.cifar import CIFAR
from diffcov.store.datasets.dataset import ImageDataset
from diffcov.store.datasets.decoded import decoded
from diffcov.store.datasets.embedded import EMBEDDED
from diffcov.store.datasets.hugging_face import HUGGING_FACE
from diffcov.store.datasets.idx import IDX
from diffcov.store.datasets.image_folder import IMAGE_FOLDER
from diffcov.store.datasets.image_zip import IMAGE_ZIP
from diffcov.store.datasets.large import LargeImages, owned
from diffcov.store.datasets.layout import SPLITS
from diffcov.store.datasets.reader import Reader
from diffcov.store.datasets.resize import Resize
from diffcov.store.datasets.room import Room
from diffcov.store.datasets.stored import Positions, Stored
from diffcov.store.datasets.subset import kept_indices
from diffcov.store.paths import expanded, shown

__all__ = ["EMBEDDED", "READERS", "canonical_source", "has_test_split", "load_images"]

READERS: tuple[Reader, ...] = (IDX, NPY, NPZ, CIFAR, HUGGING_FACE, IMAGE_ZIP, IMAGE_FOLDER)
"""Asked in this order: an npz is also a zip, and any folder could hold images, so these two stand last."""


def canonical_source(source: str) -> str:
    """A source as data sets remember it: an embedded set's word, or an absolute path.

    Raises:
        InputError: a path in a home that is not known.
    """
    return source if source in EMBEDDED else str(expanded(source).absolute())


def has_test_split(source: str) -> bool:
    """Whether ``load_images(source, split="test")`` finds images; looks at names, decodes nothing.

    Raises:
        InputError: a path that is missing, of no known format, or whose listing is damaged.
    """
    if source in EMBEDDED:
        return True
    path = Path(canonical_source(source))
    with _reading(path):
        return _part("test", _reader_of(path, source).splits(path)) is not None


def load_images(
    source: str,
    limit: int | None = None,
    split: str = "train",
    resize: Resize | None = None,
    room: Room | None = None,
) -> ImageDataset:
    """Read a data set of images.

    Args:
        source: ``digits`` or ``clothes`` (embedded, 17 and 256 grey levels), or the path of any format in
            :data:`READERS` (256).
        limit: keep a fixed pseudo-random subset of this many images of the split, in their stored order, and
            decode no others; None, or more than there are, keeps all.
        split: one of :data:`SPLITS`. Where a source holds one set only, that is ``train``. Where it holds ``val`` and
            no ``test``, ``val`` stands for it too.
        resize: done to every picture, so that they may be of several sizes; None takes them as they are.
        room: how much of memory images may take, and where decoded ones are kept; None is ``Room()``.

    Returns:
        The images, uint8 (N, C, H, W), with their description, and their labels where the source has them.

    Raises:
        UsageError: a limit below 1, or another split.
        InputError: a path that is missing, of no known format, damaged, or without images; a source without
            the split; labels that do not fit the images; pictures smaller than what they are resized to.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"the limit on the number of images must be at least 1, found {limit}")
    if split not in SPLITS:
        raise UsageError(f"the split must be one of {', '.join(SPLITS)}, found {split!r}")
    if source in EMBEDDED:
        if _part(split, ("train", "test")) is None:
            raise _without(source, split)
        return _chosen(EMBEDDED[source](split), limit, source, split, resize, Room(0))
    path = Path(canonical_source(source))
    with _reading(path):
        reader = _reader_of(path, source)
        part = split if split == "train" else _part(split, reader.splits(path))
        if part is None:
            raise _without(str(path), split)
        stored = reader.open(path, part)
        told = replace(stored, layout=replace(stored.layout, format=reader.reads))
        return _chosen(told, limit, str(path), part, resize, room or Room())


def _part(split: str, there: Collection[str]) -> str | None:
    """The split that is meant by one, of those that are there: without ``test``, ``val`` is what is held out."""
    wanted = ("test", "val") if split == "test" else (split,)
    return next((one for one in wanted if one in there), None)


def _without(source: str, split: str) -> InputError:
    others = {
        "train": "",
        "test": " (a folder that holds train and test, MNIST's t10k files or CIFAR's test batch would)",
        "val": " (a folder that holds train and val, or an npz with val_images would)",
    }
    return InputError(f"{source} has no {split} split{others[split]}; give held-out images with --data")


def _chosen(
    stored: Stored, limit: int | None, source: str, split: str, resize: Resize | None, room: Room
) -> ImageDataset:
    """What the limit keeps of a split, in memory of our own if there is room."""
    if not stored.count:
        raise InputError(f"there is no image in {source}: a data set needs at least one")
    if stored.labels is not None and len(stored.labels) != stored.count:
        raise InputError(
            f"the {split} split of {source} has {stored.count} images and {len(stored.labels)} labels: "
            "fetch or write both again"
        )
    kept = kept_indices(stored.count, limit)
    images = _placed(stored, kept, source, split, resize, room)
    _, channels, height, width = images.shape
    description, met = DataDescription(channels, height, width, stored.levels), stored.met()
    layout = replace(
        stored.layout,
        splits=stored.layout.splits or {split: stored.count},
        remarks=(*stored.layout.remarks, *met.remarks()),
        warnings=(*stored.layout.warnings, *met.warnings()),
    )
    if stored.labels is None:
        return ImageDataset(images, description, source, split=split, resize=resize, layout=layout)
    # Counted before the limit, which may leave the last classes without an image.
    classes = int(stored.labels.max()) + 1 if stored.class_count is None else stored.class_count
    labels = torch.from_numpy(stored.labels[kept])
    return ImageDataset(images, description, source, labels, split, classes, resize, layout)


def _placed(
    stored: Stored, kept: Positions, source: str, split: str, resize: Resize | None, room: Room
) -> Tensor | LargeImages:
    """The images in memory, or on disk where they take more than there is room for."""
    if stored.shape is None or (room.cache is None and _surely_fit(stored, kept, resize, room)):
        images = stored.pick(kept, resize)
        if resize is not None and stored.levels < 256:  # the filter's lobes reach beyond the brightest level
            images = np.minimum(images, stored.levels - 1).astype(np.uint8)
        return owned(images)

    def scanned() -> LargeImages:
        assert stored.shape is not None
        return LargeImages(stored, kept, (len(kept), *stored.shape(kept, resize)), resize)

    large = scanned() if room.cache is None else decoded(room.cache, Path(source), split, kept, resize, scanned)
    if large.bytes <= room.bytes:
        return large[:]
    if room.cache is None and not stored.scattered:
        raise InputError(
            f"the images of {source} take {large.bytes / 1e9:.3g} GB, more than the {room.bytes / 1e9:.3g} GB of "
            "--memory, and can only be read one after the other; say where they may be kept decoded with --cache DIR"
        )
    return large


def _surely_fit(stored: Stored, kept: Positions, resize: Resize | None, room: Room) -> bool:
    """Whether so many images of the first one's size would fit with any number of channels: no other is opened."""
    assert stored.shape is not None
    _, height, width = stored.shape(kept[:1], resize)
    return len(kept) * 4 * height * width <= room.bytes


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """What the system refuses becomes an input error that names the file."""
    try:
        yield
    except OSError as error:
        why = " ".join(str(error.strerror or error).split())
        raise InputError(f"cannot read {shown(error.filename or path)}: {why}") from error


def _reader_of(path: Path, source: str) -> Reader:
    if not source or not path.exists():
        raise InputError(f"no such file or folder: {source or '(empty)'}; give images with --data")
    for reader in READERS:
        if reader.recognises(path):
            return reader
    known = "; ".join([*EMBEDDED, *(reader.reads for reader in READERS)])
    raise InputError(f"the format of {path} is not known. What can be read: {known}")
