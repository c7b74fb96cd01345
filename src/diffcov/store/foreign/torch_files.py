"""Files of ``torch.save`` and plain pickles, read by :mod:`diffcov.store.foreign.pickles`.

Since torch 1.6 such a file is a zip of ``data.pkl`` and one uncompressed member a storage; before, it was a row of
pickles with the storages behind them.
"""

from __future__ import annotations

import io
import mmap
import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

from diffcov.errors import InputError
from diffcov.store.foreign.pickles import Refused, read_pickles
from diffcov.store.foreign.stored import StorageKind, StorageRecord
from diffcov.store.pointer import refuse_pointer
from diffcov.store.zips import open_zip, read_member

__all__ = ["read_stream", "read_torch_file"]

MAGIC = 0x1950A86A20F9469CFC6C
"""The number that old files of ``torch.save`` begin with."""
ZIP = b"PK\x03\x04"


class _Mapped(mmap.mmap):
    """A file in memory as far as it is read; Python says from 3.13 on that it can be sought."""

    def seekable(self) -> bool:
        """True."""
        return True


def read_torch_file(path: Path) -> Any:
    """What a file holds: containers, plain values, and records for tensors and for objects of any other class.

    Raises:
        InputError: no such file, a pointer, damaged, or one that wants to call something (nothing is called).
    """
    try:
        refuse_pointer(path)
        with path.open("rb") as stream:
            size = stream.seek(0, io.SEEK_END)
            content = _Mapped(stream.fileno(), 0, access=mmap.ACCESS_READ) if size else io.BytesIO()
        return read_stream(content)  # type: ignore[arg-type]
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except Refused as error:
        raise InputError(
            f"{path} {error}: a checkpoint that runs programs is not opened, and nothing was run; save its weights "
            "alone (safetensors)"
        ) from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except Exception as error:  # a damaged pickle can make Python say anything
        said = f"{type(error).__name__}: {error}"
        raise InputError(f"{path} cannot be read ({said}); it is damaged or no checkpoint") from error


def read_stream(stream: BinaryIO) -> Any:
    """What a stream holds that can be sought, see :func:`read_torch_file`; errors are those of :func:`read_pickles`."""
    start = stream.read(len(ZIP))
    stream.seek(0)
    if start == ZIP:
        return _read_zip(stream)
    (first,) = read_pickles(stream, 1, _none, _nested)
    return _read_row(stream) if first == MAGIC else first


def _read_zip(stream: BinaryIO) -> Any:
    archive = open_zip(stream)
    members = {member.filename: member for member in archive.infolist()}
    if any(member.compress_type != zipfile.ZIP_STORED for member in members.values()):
        raise Refused("is compressed, which torch.save never does")
    pickles = [name for name in members if name.rpartition("/")[2] == "data.pkl"]
    if len(pickles) != 1:
        raise ValueError("a zip without the data.pkl of torch.save")
    root = pickles[0].removesuffix("data.pkl")
    order = f"{root}byteorder"
    if order in members and read_member(archive, order) != b"little":
        raise ValueError("its numbers are big-endian")

    def storage(name: tuple[Any, ...]) -> StorageRecord:
        kind, key, numel = _named_storage(name)
        member = members[f"{root}data/{key}"]
        if numel * kind.dtype.itemsize != member.file_size:
            raise ValueError(f"storage {key} claims {numel} numbers and has {member.file_size} bytes")
        return StorageRecord(kind.dtype, numel, lambda: read_member(archive, member))

    (found,) = read_pickles(io.BytesIO(read_member(archive, pickles[0])), 1, storage, _nested)
    return found


def _read_row(stream: BinaryIO) -> Any:
    """What follows the magic number: a version, the machine, the object, the storages' names, the storages."""
    places: dict[str, tuple[int, int]] = {}
    sizes: dict[str, int] = {}

    def storage(name: tuple[Any, ...]) -> StorageRecord:
        kind, key, numel = _named_storage(name)

        def read() -> bytes:
            offset, count = places[key]
            if count != numel:
                raise InputError(f"storage {key} claims {numel} numbers and has {count}")
            stream.seek(offset)
            found = stream.read(count * kind.dtype.itemsize)
            if len(found) != count * kind.dtype.itemsize:
                raise InputError(f"storage {key} is cut off")
            return found

        sizes[key] = kind.dtype.itemsize
        return StorageRecord(kind.dtype, numel, read)

    _, _, found, keys = read_pickles(stream, 4, storage, _nested)
    position = stream.tell()
    for key in keys:
        stream.seek(position)
        (count,) = struct.unpack("<q", stream.read(8))
        places[str(key)] = (position + 8, count)
        position += 8 + count * sizes[str(key)]
    return found


def _named_storage(name: tuple[Any, ...]) -> tuple[StorageKind, str, int]:
    label, kind, key, _, numel = name[:5]
    if label != "storage" or not isinstance(kind, StorageKind) or not isinstance(numel, int) or numel < 0:
        raise ValueError(f"a storage named {name!r}")
    return kind, str(key), numel


def _none(name: tuple[Any, ...]) -> StorageRecord:
    raise ValueError(f"a storage {name!r} outside of a file of torch.save")


def _nested(content: bytes) -> Any:
    """A file within a file is read by the same rules."""
    return read_stream(io.BytesIO(content))
