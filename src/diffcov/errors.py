"""What diffcov says when it cannot go on: one sentence, and the exit code that belongs to it.

A message states what was asked, what was found, and what to do next. The command line prints it on
stderr and exits with ``exit_code``; a library user catches :class:`DiffcovError`.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable


class DiffcovError(Exception):
    """Base of every error that diffcov raises on purpose (exit code 1: failure)."""

    exit_code = 1


class OutputError(DiffcovError):
    """An output could not be written, or stands where something good already is (exit code 1)."""

    @classmethod
    def refused(cls, what: object, error: Exception) -> Self:
        """The error of something that the system refused to write, with nothing changed."""
        reason = getattr(error, "strerror", None) or str(error)
        return cls(f"could not write {what}: {reason}; nothing was changed, free some space or choose another place")


class OwnedError(OutputError):
    """Somebody else writes there now (exit code 1)."""


class UsageError(DiffcovError):
    """An option has a value it cannot have, or contradicts another (exit code 2)."""

    exit_code = 2

    @classmethod
    def unknown(cls, what: str, name: str, names: Iterable[str], besides: str = "") -> Self:
        """The error of a name that is none of ``names``, with the one that was meant if one is like it."""
        listed = list(names)
        like = get_close_matches(name, listed, n=1)
        meant = f" (did you mean {like[0]}?)" if like else ""
        return cls(f"unknown {what} {name!r}{meant}; choose {besides}one of {', '.join(listed)}")


class InputError(DiffcovError):
    """An input is missing, damaged, or does not fit the rest (exit code 3)."""

    exit_code = 3


class NoAnswerError(InputError):
    """What is asked cannot be said from inputs that are sound in themselves (exit code 3)."""


class NonFiniteError(DiffcovError):
    """A number stopped being a number (exit code 4)."""

    exit_code = 4


class Interrupted(DiffcovError):
    """The user or the system asked to stop; what was done so far is saved (exit code 130)."""

    exit_code = 130


class ProcessLost(DiffcovError):
    """Another of several processes is gone (exit code 1); the message says what is kept after its first semicolon."""

    KEPT = "what was saved is kept: start again, with --resume if it is a training"
    """What to say where nothing better is known."""

    @classmethod
    def told(cls, what: str = "another process ended without a word", advice: str = KEPT) -> Self:
        """The error of what happened, with what is kept and what to do next."""
        return cls(f"{what}; {advice}")

    @property
    def advice(self) -> str:
        """What is kept, and what to do next."""
        return str(self).partition("; ")[2]
