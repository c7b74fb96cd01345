"""Whom an experiment talks to: a terminal, a notebook, or nobody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

__all__ = ["Listener", "Progress", "Silent"]


class Progress(Protocol):
    """A long task's display."""

    def update(self, done: float, message: str = "", total: float | None = None, aside: str = "") -> None:
        """Say how much is done.

        Args:
            done: in the unit of the task.
            message: shown beside it until the next one comes.
            total: where the task ends, if that is known better than before.
            aside: shown after the message where there is room, until the next one comes.
        """


class Listener(Protocol):
    """Is told what happens, and may ask for an end."""

    def note(self, text: str) -> None:
        """One line of talk."""

    def warn(self, text: str) -> None:
        """One line that should not be missed."""

    def first_time(self, text: str) -> bool:
        """Whether this is asked for the first time of a text: what was told once need not be told again."""

    def progress(self, title: str, total: float | None, unit: str) -> AbstractContextManager[Progress]:
        """Around a long task: its progress is told while the block runs.

        Args:
            title: what is being done.
            total: where it ends, or None if that is not known.
            unit: what is counted.
        """

    def stop_requests(self) -> AbstractContextManager[StopRequests]:
        """Around a training: inside, a wish to stop is heard and not obeyed at once."""


class StopRequests(Protocol):
    """Whether somebody wants a training to stop."""

    def __call__(self) -> bool:
        """Whether a stop was asked for."""


class Silent:
    """A listener for scripts: says nothing and never asks for an end."""

    def note(self, text: str) -> None:
        """Ignore a line of talk."""

    def warn(self, text: str) -> None:
        """Ignore a warning."""

    def first_time(self, text: str) -> bool:
        """Never: nothing is heard."""
        return False

    @contextmanager
    def progress(self, title: str, total: float | None, unit: str) -> Iterator[Progress]:
        """Ignore how far a task is."""
        yield _Ignored()

    @contextmanager
    def stop_requests(self) -> Iterator[StopRequests]:
        """Never a wish to stop."""
        yield lambda: False


class _Ignored:
    def update(self, done: float, message: str = "", total: float | None = None, aside: str = "") -> None:
        pass
