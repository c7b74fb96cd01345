"""A ``.npy`` inside a zip that is stored as it is: a map of the file instead of a copy of it."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["mapped_array"]

LOCAL_HEADER = struct.Struct("<4s5H3I2H")
"""The header before a member's bytes (APPNOTE.TXT 4.3.7); last in it are the lengths of its name and extra field."""
ENCRYPTED = 1
CHECKED = 16 << 20
"""Bytes whose checksum is taken at a time."""


def mapped_array(path: Path, member: zipfile.ZipInfo) -> NDArray[Any] | None:
    """The array in a member, through a memory map; None for one that is compressed, encrypted or of Python's objects.

    Its checksum is compared here: later nothing would.

    Raises:
        zipfile.BadZipFile: the bytes are not those that were written.
        ValueError: it is no ``.npy``.
    """
    if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & ENCRYPTED:
        return None
    with path.open("rb") as file:
        file.seek(member.header_offset)
        head = file.read(LOCAL_HEADER.size)
        if len(head) != LOCAL_HEADER.size or not head.startswith(b"PK\x03\x04"):
            raise zipfile.BadZipFile(f"there is no member at the place of {member.filename}")
        *_, name, extra = LOCAL_HEADER.unpack(head)
        start = member.header_offset + LOCAL_HEADER.size + name + extra
        file.seek(start)
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
        offset = file.tell()
    if dtype.hasobject or offset + dtype.itemsize * int(np.prod(shape)) != start + member.file_size:
        return None
    content: NDArray[np.uint8] = np.memmap(path, np.uint8, "r", start, (member.file_size,))
    found = 0
    for at in range(0, len(content), CHECKED):
        found = zlib.crc32(content[at : at + CHECKED].data, found)
    if found != member.CRC:
        raise zipfile.BadZipFile(f"Bad CRC-32 for file {member.filename!r}")
    values = content[offset - start :].view(dtype)
    return values.reshape(shape, order="F" if fortran else "C")
