"""What a shell may offer for the word under the cursor: commands, options, their values. Imports no torch and no typer.

The scripts in ``completions/`` (and those of ``--install-completion``) ask the program itself, by a variable. What it
answers stands here, because bash cuts ``--option=value`` into three words, and because values with commas between are
completed one by one.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, dataclass
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from diffcov.study.options import Option, leaves, told_of

__all__ = ["ASKED", "SHELLS", "Offer", "answer", "offer"]

ASKED = "_DIFFCOV_COMPLETE"
"""The variable by which a shell asks."""
SHELLS = ("bash", "zsh", "fish")
"""Shells that get an answer from here."""
EVERYWHERE = ("--json", "--help", "-h")
"""Options that every command has beside its request's."""
OF_PROGRAM = ("--debug", "--version", "--install-completion", "--show-completion", "--help", "-h")
"""Options that stand before a command."""


@dataclass(frozen=True)
class Offer:
    """What can stand for the word under the cursor.

    Attributes:
        words: the whole words that it may become; where there are none, the shell offers files.
        before: what of the word stands before a value: ``--option=``, or nothing.
    """

    words: tuple[str, ...] = ()
    before: str = ""


def offer(requests: Mapping[str, type], words: Sequence[str]) -> Offer:
    """What completes the last word.

    Args:
        requests: by the name of their command.
        words: after the program's name, the last one as far as it is typed, an option and its value in one word or two.
    """
    *typed, word = words or [""]
    command = next((one for one in typed if not one.startswith("-")), None)
    if command is None:
        return Offer(_starting(OF_PROGRAM if word.startswith("-") else requests, word))
    if command not in requests:
        return Offer()
    options = {name: (told_of(one), kind) for one, kind in leaves(requests[command]) for name in _names(one)}
    name, assigned, value = word.partition("=")
    if assigned and name in options:
        before = f"{name}="
        return Offer(tuple(before + one for one in _values(*options[name], value)), before)
    if typed[-1] in options and not _is_flag(options[typed[-1]][1]):
        return Offer(tuple(_values(*options[typed[-1]], word)))
    if word.startswith("-") or not any(told.argument for told, _ in options.values()):
        return Offer(
            _starting([name for name, (told, _) in options.items() if not told.argument] + list(EVERYWHERE), word)
        )
    return Offer()


def answer(requests: Mapping[str, type], shell: str) -> str:
    """What a shell's script wants to read.

    Args:
        requests: by the name of their command.
        shell: "bash", "zsh" or "fish", each of which tells what is typed in variables of its own.
    """
    if shell == "bash":
        told, current = os.environ["COMP_WORDS"], int(os.environ["COMP_CWORD"])
        words = [*told.split("\n" if "\n" in told else None), ""][: current + 1]
        found, apart = offer(requests, _joined(words[1:])), "=" not in words[-1].lstrip("=")
        return "\n".join(word.removeprefix(found.before) if apart else word for word in found.words)
    found = offer(requests, _words_of_line(os.environ.get("_TYPER_COMPLETE_ARGS", "")))
    if shell == "zsh":
        if not found.words:
            return "compset -P '*='; _files" if found.before else "_files"
        return f"_arguments '*: :(({' '.join(map(_quoted, found.words))}))'"
    if os.environ.get("_TYPER_COMPLETE_FISH_ACTION") == "is-args":
        sys.exit(0 if found.words else 1)
    return "\n".join(found.words)


def _joined(words: Sequence[str]) -> list[str]:
    """Bash's words, in which ``--option``, ``=`` and a value are one word again."""
    out: list[str] = []
    for word in words:
        joins = bool(out) and (word == "=" or out[-1].endswith("=")) and out[-1].startswith("--")
        out[-1:] = [out[-1] + word] if joins else [*out[-1:], word]
    return out


def _words_of_line(line: str) -> list[str]:
    """The words of a line, the last one empty after a space; a quote that is open ends with the line."""
    try:
        words = shlex.split(line)
    except ValueError:
        words = line.split()
    return [*words[1:], ""] if line.endswith(" ") or len(words) < 2 else words[1:]


def _quoted(word: str) -> str:
    """A word for zsh's list of choices, where a colon begins a description."""
    return '"' + word.replace(":", r"\\:") + '"'


def _names(one: Field[Any]) -> Iterator[str]:
    for names in told_of(one).names:
        yield from names.split("/")


def _is_flag(kind: Any) -> bool:
    return bool in (kind, *get_args(kind))


def _values(told: Option, kind: Any, typed: str) -> Iterator[str]:
    """The values that an option can have, as far as they are words; of several, for the last one."""
    kinds = [part for part in (kind, *get_args(kind)) if part not in (NoneType, Path)]
    words = [choice for part in kinds if get_origin(part) is Literal for choice in get_args(part)]
    if told.words is not None:
        words = [*told.words(), *([told.none] if told.none is not None else [])]
    before, comma, last = typed.rpartition(",") if told.many else ("", "", typed)
    given = before.split(",")
    yield from (before + comma + word for word in _starting(words, last) if word not in given)


def _starting(words: Sequence[str] | Mapping[str, Any], beginning: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for word in words if word.startswith(beginning)))
