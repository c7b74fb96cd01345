"""A listener that records all it is told, and asks for an end when one wants it to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

__all__ = ["Heard", "Recorder"]


@dataclass
class Heard:
    """One long task.

    Attributes:
        title, total, unit: as it was announced.
        told: every (done, message).
        ended: whether its block was left.
    """

    title: str
    total: float | None
    unit: str
    told: list[tuple[float, str]] = field(default_factory=list)
    ended: bool = False

    def update(self, done: float, message: str = "", total: float | None = None, aside: str = "") -> None:
        """Keep it; the total may become better known."""
        self.told.append((done, message))
        self.total = total or self.total

    @property
    def done(self) -> float:
        """How far it was at last; 0 if it never said."""
        return self.told[-1][0] if self.told else 0.0


@dataclass
class Recorder:
    """Keeps notes, warnings and tasks in the order in which they came.

    Attributes:
        stop: asked by trainings whether they shall end.
    """

    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    tasks: list[Heard] = field(default_factory=list)
    stop: Callable[[], bool] = lambda: False
    told: set[str] = field(default_factory=set)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def first_time(self, text: str) -> bool:
        new = text not in self.told
        self.told.add(text)
        return new

    @contextmanager
    def progress(self, title: str, total: float | None, unit: str) -> Iterator[Heard]:
        heard = Heard(title, total, unit)
        self.tasks.append(heard)
        yield heard
        heard.ended = True

    @contextmanager
    def stop_requests(self) -> Iterator[Callable[[], bool]]:
        yield self.stop

    def said(self, words: str) -> bool:
        """Whether a note holds these words."""
        return any(words in note for note in self.notes)
