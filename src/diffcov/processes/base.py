"""The processes that run one program together: who does which part of the work, and how the parts become one again.

All of them run the same program on the same files and take the same decisions. Only loops around the network are cut
up: each process does its share and all get the whole. What one of them alone may do (write, ask a clock, listen to a
signal) is done by the first, and the others hear what came of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ALONE", "Processes", "current", "working"]

T = TypeVar("T")


class Processes:
    """One process alone: all shares are whole, and nothing has to be told to anybody.

    Attributes:
        rank: number of this process, from 0 on.
        size: how many there are.
        local_rank: number of this process on its machine, from 0 on.
        local_size: how many there are on its machine.
    """

    rank = 0
    size = 1
    local_rank = 0
    local_size = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes, talks and decides."""
        return self.rank == 0

    def share(self, count: int) -> range:
        """Which of ``count`` things in a row are this process's: as many as the others', give or take one."""
        return range(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def dealt(self, costs: Sequence[float]) -> list[int]:
        """Which of some tasks are this process's, in their order: the dearest are dealt first, each to the least laden.

        Args:
            costs: of each task.
        """
        laden, mine = [0.0] * self.size, []
        for task in sorted(range(len(costs)), key=lambda task: -costs[task]):
            taker = laden.index(min(laden))
            laden[taker] += costs[task]
            if taker == self.rank:
                mine.append(task)
        return sorted(mine)

    def gathered(self, make: Callable[[], T]) -> list[T]:
        """What each process makes, by rank, told to all of them; values that pickle.

        Raises:
            DiffcovError: the first by rank that any of them raised, raised in all of them.
            ProcessLost: another process is gone.
        """
        return [make()]

    def from_first(self, make: Callable[[], T]) -> T:
        """What the first process makes, told to all; the others make nothing. Raises as :meth:`gathered` does."""
        return make()

    def once(self, write: Callable[[], T]) -> T:
        """What comes of an act of the first process that changes files, told to all when it is done.

        It begins when all have come here, so that none reads before what another reads after it. Raises as
        :meth:`gathered` does.
        """
        self.wait()
        return self.from_first(write)

    def agreed(self, value: T) -> T:
        """The first process's value, in all: two processors may round a sum in two ways. Raises as :meth:`gathered`."""
        return self.from_first(lambda: value)

    def wait(self) -> None:
        """Wait until all have come here. ProcessLost if another process is gone."""

    def summed(self, tensors: Sequence[Tensor]) -> None:
        """Add to each tensor, in place, those that stand in its place in all other processes.

        All have the same sums then, bit for bit.

        Args:
            tensors: of the same shapes and dtypes in all processes.

        Raises:
            ProcessLost: another process is gone.
        """


ALONE = Processes()
_CURRENT: ContextVar[Processes] = ContextVar("processes", default=ALONE)


def current() -> Processes:
    """Those that this piece of program runs in: :data:`ALONE` outside of ``joined``, and inside of a share of work."""
    return _CURRENT.get()


@contextmanager
def working(processes: Processes) -> Iterator[Processes]:
    """Inside, :func:`current` gives these."""
    before = _CURRENT.set(processes)
    try:
        yield processes
    finally:
        _CURRENT.reset(before)
