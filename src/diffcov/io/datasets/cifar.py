"""CIFAR-10 and CIFAR-100 as their author publishes them: pickled or binary batches, packed or unpacked."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from diffcov.errors import InputError
from diffcov.io.datasets.cifar_pickle import pickled_images
from diffcov.io.datasets.reader import Pixels, Reader
from diffcov.io.datasets.subset import take

__all__ = ["CIFAR"]

_SHAPE = (3, 32, 32)
_BYTES = 3 * 32 * 32


def _binary_images(batch: bytes, labels: int) -> Pixels:
    """Records of ``labels`` label bytes and 3072 pixel bytes -> uint8 (N, 3072)."""
    record = labels + _BYTES
    if len(batch) % record:
        raise ValueError(f"{len(batch)} bytes are not a whole number of {record}-byte records")
    return np.frombuffer(batch, dtype=np.uint8).reshape(-1, record)[:, labels:]


@dataclass(frozen=True)
class _Edition:
    """One of the four archives: the files of its training set, and bytes -> uint8 (N, 3072) for each."""

    batches: tuple[str, ...]
    decode: Callable[[bytes], Pixels]


_EDITIONS = (
    _Edition(tuple(f"data_batch_{number}" for number in range(1, 6)), pickled_images),
    _Edition(tuple(f"data_batch_{number}.bin" for number in range(1, 6)), partial(_binary_images, labels=1)),
    _Edition(("train",), pickled_images),
    _Edition(("train.bin",), partial(_binary_images, labels=2)),
)
_BATCHES = {name for edition in _EDITIONS for name in edition.batches}


def _recognises(path: Path) -> bool:
    if path.is_dir():
        return any((path / name).is_file() for name in _BATCHES)
    return path.is_file() and tarfile.is_tarfile(path)


def _from_folder(path: Path) -> dict[str, bytes]:
    return {name: (path / name).read_bytes() for name in _BATCHES if (path / name).is_file()}


def _from_tar(path: Path) -> dict[str, bytes]:
    """The training batches in a tar, by file name, whatever folder they are in; extracts nothing to disk."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                content = archive.extractfile(member) if name in _BATCHES and member.isfile() else None
                if content is not None:
                    found[name] = content.read()
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise InputError(f"{path} is truncated or damaged ({error}): fetch it again") from error
    return found


def _read(path: Path, limit: int | None) -> Pixels:
    """The training images, uint8 (N, 3, 32, 32), in the order of the batches."""
    found = _from_folder(path) if path.is_dir() else _from_tar(path)
    edition = next((edition for edition in _EDITIONS if found.keys() & set(edition.batches)), None)
    if edition is None:
        raise InputError(
            f"{path} is a tar without CIFAR's training batches: if it holds images, unpack it and name their folder"
        )
    missing = [name for name in edition.batches if name not in found]
    if missing:
        names = ", ".join(missing)
        raise InputError(f"{path} lacks the training batches {names}: fetch or unpack CIFAR again")
    decoded: list[Pixels] = []
    for name in edition.batches:
        try:
            decoded.append(edition.decode(found.pop(name)))
        except ValueError as error:
            raise InputError(f"{name} in {path} is no CIFAR batch: {error}; fetch CIFAR again") from error
    return take(np.concatenate(decoded), limit).reshape(-1, *_SHAPE)


CIFAR = Reader("CIFAR-10 or CIFAR-100 (python or binary, .tar.gz or unpacked)", _recognises, _read)
