"""What a pickle would make, counted before anything is made, and words of strangers made fit for a sentence.

A few bytes can say "twice what I said before" sixty times over: what they make is a handful of objects, and whoever
hashes or prints it goes on for ever. So a pickle is walked through first, with a size and a depth for each object.
"""

from __future__ import annotations

import pickletools
import reprlib
from typing import Any, BinaryIO

from diffcov.errors import InputError

__all__ = ["Refused", "check_opcodes", "shown"]

COPIES = 10**7
"""Objects that a pickle may refer to again, each counted with all that is in it."""
DEPTH = 1000
"""Objects within objects; checkpoints have tens, and Python's own stack ends at some ten thousand."""
FILLS = ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD")
"""Opcodes that put what is on the stack into what lies below it."""


class Refused(InputError):
    """A pickle that wants to call what no checkpoint needs."""


class _Made:
    """An object: how many there are in it, itself included, and how deep they lie."""

    def __init__(self, parts: list[_Made]) -> None:
        self.size, self.depth = 1, 0
        self.fill(parts)

    def fill(self, parts: list[_Made]) -> None:
        self.size += sum(part.size for part in parts)
        self.depth = max([self.depth, *(part.depth + 1 for part in parts)])
        if self.depth > DEPTH:
            raise InputError(f"it holds things within things, {DEPTH} deep, as no checkpoint does; fetch it again")


def check_opcodes(stream: BinaryIO) -> None:
    """Walk through a pickle without obeying it, to its end.

    Raises:
        Refused: its numbers are not those of its own size.
        InputError: what it makes is endless or bottomless.
        ValueError, IndexError, KeyError: it is damaged.
    """
    stack: list[_Made | None] = []  # None is a mark
    memo: dict[int, _Made] = {}
    copies = 0
    for number, (opcode, argument, _) in enumerate(pickletools.genops(stream), start=1):
        name = opcode.name
        place: Any = len(memo) if name == "MEMOIZE" else argument
        if name == "MEMOIZE" or "PUT" in name:
            if place > number:
                raise Refused(f"claims to remember {place} things")
            memo[place] = _top(stack)
        elif name == "DUP" or name in ("GET", "BINGET", "LONG_BINGET"):
            again = _top(stack) if name == "DUP" else memo[place]
            copies += again.size
            if copies > COPIES:
                raise InputError(
                    f"it repeats itself so often that it holds more than {COPIES:,} things, as no checkpoint does; "
                    "fetch it again"
                )
            stack.append(again)
        elif name == "MARK":
            stack.append(None)
        elif name == "POP":
            stack.pop()
        else:
            parts = _taken(stack, opcode)
            if name in FILLS:
                parts[0].fill(parts[1:])
                stack.append(parts[0])
            else:
                stack += [_Made(parts) for _ in opcode.stack_after]


def _top(stack: list[_Made | None]) -> _Made:
    if not stack or stack[-1] is None:
        raise ValueError("nothing is on its stack")
    return stack[-1]


def _taken(stack: list[_Made | None], opcode: pickletools.OpcodeInfo) -> list[_Made]:
    """What an opcode takes from the stack, the deepest first; a mark is taken and left out."""
    wanted = list(opcode.stack_before)
    parts: list[_Made] = []
    if pickletools.markobject in wanted:
        wanted = wanted[: wanted.index(pickletools.markobject)]
        while (last := stack.pop()) is not None:
            parts.append(last)
    for _ in wanted:
        last = stack.pop()
        if last is None:
            raise ValueError("a mark lies where an object should be")
        parts.append(last)
    return parts[::-1]


def shown(value: Any, most: int = 60) -> str:
    """A stranger's word in one line of at most ``most`` characters, whatever it is and however large."""
    try:
        text = value[: most + 1] if isinstance(value, str) else reprlib.repr(value)
    except ValueError:  # a whole number of thousands of digits
        text = f"an endless {type(value).__name__}"
    text = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)
    return text if len(text) <= most else f"{text[: most - 3]}..."
