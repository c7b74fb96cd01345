"""One progress for a task of many parts: its total, and so its time to go, gets better known with every part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from diffcov.study.listener import Listener, Progress, StopRequests

__all__ = ["CALLS", "Whole", "whole_task"]

CALLS = "calls"
"""The unit of a whole: images through the network, to which time is about proportional."""


@dataclass
class Whole:
    """A listener inside of a whole task: the progress of each part moves the one bar of all.

    A part that was counted in the plan takes its share of it, and what is left keeps its own; so parts that end early,
    were measured before, or turn out longer change the total and nothing else.

    Attributes:
        say: the listener outside, which hears all that is said.
        bar: the progress of all.
        planned: calls of the parts that have not begun.
        costs: calls that one unit of a part takes, by the unit; a part in another unit moves nothing and is named.
        done: calls of the parts that have ended.
    """

    say: Listener
    bar: Progress
    planned: float
    costs: Mapping[str, float] = field(default_factory=lambda: {CALLS: 1.0})
    done: float = 0.0

    def note(self, text: str) -> None:
        """One line of talk."""
        self.say.note(text)

    def warn(self, text: str) -> None:
        """One line that should not be missed."""
        self.say.warn(text)

    def first_time(self, text: str) -> bool:
        """Whether this is asked for the first time of a text."""
        return self.say.first_time(text)

    def stop_requests(self) -> AbstractContextManager[StopRequests]:
        """Hear a wish to stop as it is heard outside."""
        return self.say.stop_requests()

    @contextmanager
    def progress(self, title: str, total: float | None, unit: str) -> Iterator[Progress]:
        """A part: what it tells, told as a share of the whole."""
        cost = self.costs.get(unit, 0.0)
        part = _Part(self, title, cost, max(0.0, self.planned - cost * (total or 0.0)), cost * (total or 0.0))
        part.update(0)
        yield part
        self.planned, self.done = part.rest, self.done + part.reached
        self.bar.update(self.done, total=self.done + self.planned)

    @contextmanager
    def stage(self, planned: float, **costs: float) -> Iterator[Listener]:
        """Around some parts that together were planned to take so many calls: afterwards nothing of that is left.

        Args:
            planned: their calls.
            costs: calls of one unit, by the unit, where a part is not counted in calls.
        """
        after = max(0.0, self.planned - planned)
        inside = Whole(self.say, self.bar, self.planned, {**self.costs, **costs}, self.done)
        yield inside
        self.done, self.planned = inside.done, after
        self.bar.update(self.done, total=self.done + self.planned)


@dataclass
class _Part:
    """The progress of one part: what its unit costs, the calls of all parts that follow, its own, and those done."""

    whole: Whole
    title: str
    cost: float
    rest: float
    total: float
    reached: float = 0.0

    def update(self, done: float, message: str = "", total: float | None = None, aside: str = "") -> None:
        """Tell the whole; the part's title stands before what it says."""
        self.reached = self.cost * done
        self.total = max(self.cost * total if total else self.total, self.reached)
        said = f"{self.title}: {message}" if message else self.title
        self.whole.bar.update(self.whole.done + self.reached, said, self.whole.done + self.total + self.rest, aside)


@contextmanager
def whole_task(say: Listener, title: str, planned: float) -> Iterator[Whole]:
    """Around a task of many parts that together take about so many calls; inside, they talk to the whole."""
    with say.progress(title, planned, CALLS) as bar:
        whole = Whole(say, bar, planned)
        yield whole
        if whole.done:
            bar.update(whole.done, total=whole.done)
