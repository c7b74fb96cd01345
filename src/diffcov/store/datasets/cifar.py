"""CIFAR-10 and CIFAR-100 as their author publishes them: pickled or binary batches, packed or unpacked."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from diffcov.errors import InputError
from diffcov.store.datasets.cifar_pickle import pickled_batch, pickled_names
from diffcov.store.datasets.layout import Layout
from diffcov.store.datasets.reader import Reader
from diffcov.store.datasets.stored import Labels, Pixels, Stored

__all__ = ["CIFAR"]

_SHAPE = (3, 32, 32)
_BYTES = 3 * 32 * 32


def _binary_batch(batch: bytes, label_bytes: int) -> tuple[Pixels, Labels]:
    """Records of label bytes, the finest last, and 3072 pixel bytes -> uint8 (N, 3072), int64 (N,)."""
    record = label_bytes + _BYTES
    if len(batch) % record:
        raise ValueError(f"{len(batch)} bytes are not a whole number of {record}-byte records")
    records = np.frombuffer(batch, dtype=np.uint8).reshape(-1, record)
    return records[:, label_bytes:], records[:, label_bytes - 1].astype(np.int64)


@dataclass(frozen=True)
class _Edition:
    """One of the four archives.

    Attributes:
        batches: the files of its splits.
        decode: the bytes of one -> uint8 (N, 3072), int64 (N,).
        meta: the file of the names of classes.
        names: its bytes -> these names.
    """

    batches: Mapping[str, tuple[str, ...]]
    decode: Callable[[bytes], tuple[Pixels, Labels | None]]
    meta: str
    names: Callable[[bytes], tuple[str, ...]]


def _lines(content: bytes) -> tuple[str, ...]:
    """The lines of a text that are not empty."""
    return tuple(line for line in content.decode("utf-8", "replace").splitlines() if line.strip())


_FIVE = tuple(f"data_batch_{number}" for number in range(1, 6))
_FIVE_BINARY = tuple(f"{name}.bin" for name in _FIVE)
_EDITIONS = (
    _Edition({"train": _FIVE, "test": ("test_batch",)}, pickled_batch, "batches.meta", pickled_names),
    _Edition(
        {"train": _FIVE_BINARY, "test": ("test_batch.bin",)},
        partial(_binary_batch, label_bytes=1),
        "batches.meta.txt",
        _lines,
    ),
    _Edition({"train": ("train",), "test": ("test",)}, pickled_batch, "meta", pickled_names),
    _Edition(
        {"train": ("train.bin",), "test": ("test.bin",)},
        partial(_binary_batch, label_bytes=2),
        "fine_label_names.txt",
        _lines,
    ),
)
_BATCHES = {split: {name for edition in _EDITIONS for name in edition.batches[split]} for split in ("train", "test")}
"""The files of a split in any edition."""
_META = {edition.meta for edition in _EDITIONS}


def _recognises(path: Path) -> bool:
    if path.is_dir():
        return any((path / name).is_file() for name in _BATCHES["train"])
    return path.is_file() and _is_tar(path)


def _is_tar(path: Path) -> bool:
    """Whether it begins as a tar does; a compressed one that ends at once does not, and is_tarfile raises there."""
    try:
        return tarfile.is_tarfile(path)
    except (EOFError, zlib.error):
        return False


def _splits(path: Path) -> Collection[str]:
    there = {name for name, _ in _files(path, frozenset())}
    return [split for split, names in _BATCHES.items() if there & names]


def _files(path: Path, wanted: Set[str]) -> Iterator[tuple[str, bytes]]:
    """The files in a folder or tar, CIFAR's batches among them: name, and content; of those not wanted no byte."""
    return _in_folder(path, wanted) if path.is_dir() else _in_tar(path, wanted)


def _in_folder(path: Path, wanted: Set[str]) -> Iterator[tuple[str, bytes]]:
    for name in set(_META).union(*_BATCHES.values()):
        if (path / name).is_file():
            yield name, (path / name).read_bytes() if name in wanted else b""


def _in_tar(path: Path, wanted: Set[str]) -> Iterator[tuple[str, bytes]]:
    """Members by file name, whatever folder they are in; extracts nothing to disk."""
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                content = archive.extractfile(member) if name in wanted and member.isfile() else None
                if content is not None:
                    yield name, content.read()
                elif member.isfile():
                    yield name, b""
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise InputError(f"{path} is truncated or damaged ({error}): fetch it again") from error


def _open(path: Path, split: str) -> Stored:
    """The images of a split, uint8 (N, 3, 32, 32), in the order of the batches; of CIFAR-100 the fine labels."""
    files = dict(_files(path, _BATCHES[split] | _META))
    edition = next((edition for edition in _EDITIONS if files.keys() & set(edition.batches["train"])), None)
    if edition is None:
        raise InputError(
            f"{path} is a tar without CIFAR's training batches: if it holds images, unpack it and name their folder"
        )
    names = edition.batches[split]
    missing = [name for name in names if name not in files]
    if missing:
        kind = {"train": "training", "test": "test"}[split]
        raise InputError(f"{path} lacks the {kind} batches {', '.join(missing)}: fetch or unpack CIFAR again")
    images: list[Pixels] = []
    labels: list[Labels] = []
    for name in names:
        try:
            pixels, classes = edition.decode(files.pop(name))
        except ValueError as error:
            raise InputError(f"{name} in {path} is no CIFAR batch: {error}; fetch CIFAR again") from error
        images.append(pixels)
        labels += [] if classes is None else [classes]
    # Labels of some batches alone could not be told from labels of the others.
    known = np.concatenate(labels) if len(labels) == len(names) else None
    pixels = np.concatenate(images).reshape(-1, *_SHAPE)
    return Stored.of_array(pixels, known, _layout(edition, files, split, len(pixels), known is not None))


def _layout(edition: _Edition, files: Mapping[str, bytes], split: str, count: int, labelled: bool) -> Layout:
    """What the archive says of itself; the other split is not read, so its size is not known."""
    there = {other: None for other, names in edition.batches.items() if any(name in files for name in names)}
    splits = {one: count if one == split else None for one in edition.batches if one in (*there, split)}
    if not labelled:
        return Layout(splits)
    names = edition.names(files[edition.meta]) if files.get(edition.meta) else ()
    return Layout(splits, f"{edition.batches[split][0]}{' and on' if split == 'train' else ''}", names or None)


CIFAR = Reader("CIFAR-10 or CIFAR-100 (python or binary, .tar.gz or unpacked)", _recognises, _splits, _open)
