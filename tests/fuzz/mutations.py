"""Ways of breaking a file: those of a bad disk, and those of somebody who wishes harm."""

from __future__ import annotations

import re
from collections.abc import Callable

from hypothesis import strategies as st

__all__ = ["edits"]

NUMBERS = [0, 1, 2, 7, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**64 - 1]
WORDS = ["-1", "0", "1e999", "NaN", "null", "true", "[]", "{}", '""', '"../../x"', "99999999999999999999", "[[[[1]]]]"]
Edit = Callable[[bytes], bytes]


def _at(size: int) -> st.SearchStrategy[int]:
    """A place in a file; headers and directories, which say the most, more often than the middle."""
    last = max(0, size - 1)
    near, far = min(last, 512), max(0, last - 256)
    return st.one_of(st.integers(0, near), st.integers(0, last), st.integers(far, last))


def _flip(place: int, bit: int) -> Edit:
    return lambda content: (
        content[:place] + bytes(b ^ (1 << bit) for b in content[place : place + 1]) + content[place + 1 :]
    )


def _number(place: int, number: int, size: int, big: bool) -> Edit:
    packed = (number % (1 << (8 * size))).to_bytes(size, "big" if big else "little")
    return lambda content: content[:place] + packed + content[place + size :]


def _cut(place: int) -> Edit:
    return lambda content: content[:place]


def _without(place: int, length: int) -> Edit:
    return lambda content: content[:place] + content[place + length :]


def _twice(place: int, length: int) -> Edit:
    return lambda content: content[: place + length] + content[place : place + length] + content[place + length :]


def _inserted(place: int, junk: bytes) -> Edit:
    return lambda content: content[:place] + junk + content[place:]


def _word(which: int, word: str) -> Edit:
    """Another value in the place of a number or string in JSON; a length before it, as safetensors has, is mended."""

    def edit(content: bytes) -> bytes:
        length = int.from_bytes(content[:8], "little")
        start, end = (8, 8 + length) if 2 <= length < len(content) and content[8:9] == b"{" else (0, len(content))
        header = content[start:end]
        found = list(re.finditer(rb'-?\d+(?:\.\d+)?(?:e-?\d+)?|(?<=:)\s*"[^"\\]*"', header))
        if not found:
            return content
        one = found[which % len(found)]
        header = header[: one.start()] + word.encode() + header[one.end() :]
        before = len(header).to_bytes(8, "little") if start else b""
        return before + header + content[end:]

    return edit


def edits(size: int) -> st.SearchStrategy[list[Edit]]:
    """One to four edits of a file of so many bytes."""
    place = _at(size)
    one = st.one_of(
        st.builds(_flip, place, st.integers(0, 7)),
        st.builds(_number, place, st.sampled_from(NUMBERS), st.sampled_from([1, 2, 4, 8]), st.booleans()),
        st.builds(_word, st.integers(0, 400), st.sampled_from(WORDS)),
        st.builds(_cut, place),
        st.builds(_without, place, st.integers(1, 64)),
        st.builds(_twice, place, st.integers(1, 64)),
        st.builds(_inserted, place, st.binary(min_size=1, max_size=16)),
    )
    return st.lists(one, min_size=1, max_size=4)
