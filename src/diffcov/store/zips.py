"""Zip files as one would wish them: whatever is wrong inside, one kind of error says so.

Python's reader lets a damaged directory or member say anything: a name that claims to be UTF-8 and is not is a
UnicodeDecodeError, a claimed method an error of that method's own library.
"""

from __future__ import annotations

import lzma
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from zipfile import BadZipFile, ZipFile

__all__ = ["DAMAGE", "BadZipFile", "damage_is_bad_zip", "open_zip", "read_member"]

DAMAGE: tuple[type[Exception], ...] = (
    BadZipFile,
    *(ValueError, EOFError, RuntimeError, ArithmeticError, zlib.error, lzma.LZMAError, struct.error),
    *(SyntaxError, tokenize.TokenError),  # numpy reads the header of an array as Python's
)
"""What readers of zips, and of arrays in or out of one, raise for bytes that are not what they should be."""


@contextmanager
def damage_is_bad_zip() -> Iterator[None]:
    """Inside, what the bytes of a zip or of an array in it are not is a BadZipFile; what the disk refuses is none."""
    try:
        yield
    except DAMAGE as error:
        raise BadZipFile(str(error) or type(error).__name__) from error
    except OSError as error:
        if error.errno is not None:  # the disk's; without a number it is what a decompressor says of its bytes
            raise
        raise BadZipFile(str(error)) from error


def open_zip(source: str | Path | BinaryIO) -> ZipFile:
    """The zip at a path or in a stream that can be sought, open for reading.

    Raises:
        BadZipFile: its directory is damaged, or it is no zip.
        OSError: it cannot be read.
    """
    with damage_is_bad_zip():
        return ZipFile(source)


def read_member(archive: ZipFile, member: str | zipfile.ZipInfo) -> bytes:
    """What a member of a zip holds, unpacked.

    Raises:
        BadZipFile: its bytes are not those that were written, or encrypted, or packed in a way that is not known.
        KeyError: there is none of this name.
    """
    with damage_is_bad_zip():
        return archive.read(member)
