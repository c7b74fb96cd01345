"""Paths as people write them: homes by ``~``, and how messages show a name that a line of text cannot hold."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diffcov.errors import InputError

__all__ = ["expanded", "expanded_text", "shown", "utf8_name"]


def expanded(path: str | Path) -> Path:
    """A path with ``~`` or ``~user`` at its beginning replaced by that home.

    Raises:
        InputError: nobody of that name has a home here.
    """
    if not str(path).startswith("~"):  # ./~ is no home, and a Path of it would look like one
        return Path(path)
    try:
        return Path(path).expanduser()
    except RuntimeError:
        home = Path(path).parts[0]
        raise InputError(
            f"{shown(path)} begins with the home {home}, which is not known here; write the whole path"
        ) from None


def expanded_text(text: str) -> str:
    """What may be a path and may be a word: with a home in place of ``~``, and else as it is.

    Raises:
        InputError: nobody of that name has a home here.
    """
    return str(expanded(text)) if text.startswith("~") else text


def shown(text: str | Path) -> str:
    r"""The text on one line: line feeds and other signs without a picture as ``\n``, bytes of no UTF-8 as ``\xe9``.

    Python holds such bytes as lone surrogates, and a stream of UTF-8 refuses these.
    """
    plain = "".join(sign if sign.isprintable() or _is_byte(sign) else repr(sign)[1:-1] for sign in str(text))
    return os.fsencode(plain).decode("utf-8", "backslashreplace")


@contextmanager
def utf8_name(path: Path) -> Iterator[str]:
    """A name of a file for libraries that take UTF-8 alone: its own, or where that is none, one of its open descriptor.

    Raises:
        OSError: it cannot be opened.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with path.open("rb") as file:
            yield f"/dev/fd/{file.fileno()}"
    else:
        yield str(path)


def _is_byte(sign: str) -> bool:
    """Whether it stands for a byte that was no UTF-8."""
    return 0xDC80 <= ord(sign) <= 0xDCFF
