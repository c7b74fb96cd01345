"""Which K of the T trained times a sampler visits: strictly increasing t_1 < .. < t_K in 1..T.

A grid is data. A rule of ``diffusion.grids`` makes it, or a search, or whoever lists the times; it is checked here and
passed on. The reverse steps are its neighbouring pairs, last first, ending at the data: (t_{K-1}, t_K), .., (t_1, t_2),
(0, t_1). (Papers call it a trajectory.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from diffcov.errors import UsageError

__all__ = ["EXPLICIT", "Grid", "explicit"]

EXPLICIT = "explicit"
"""The name of grids whose times were listed."""


@dataclass(frozen=True)
class Grid:
    """K visited times of a model trained with T.

    Args:
        name: how the times were chosen.
        T: number of trained steps.
        times: strictly increasing, in 1..T.

    Raises:
        UsageError: no time, a time outside 1..T, or times that do not increase.
    """

    name: str
    T: int
    times: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.times:
            raise UsageError("a grid needs at least one time, found none")
        for t in self.times:
            if not 1 <= t <= self.T:
                raise UsageError(f"a grid's times must be in 1..T={self.T}, found {t}")
        for before, after in zip(self.times, self.times[1:], strict=False):
            if before >= after:
                raise UsageError(f"a grid's times must strictly increase, found {before} before {after}")

    @property
    def K(self) -> int:
        """The number of steps, which is the number of network calls."""
        return len(self.times)

    @property
    def label(self) -> str:
        """The name for files: how the times were chosen and how many; times that were listed are told apart."""
        listed = f"-{sha256(str(self.times).encode()).hexdigest()[:6]}" if self.name == EXPLICIT else ""
        return f"{self.name}{self.K}{listed}"

    def pairs(self) -> Iterator[tuple[int, int]]:
        """The reverse steps (s, t) in the order they are taken; the last has s = 0."""
        visited = (0, *self.times)
        return zip(reversed(visited[:-1]), reversed(visited[1:]), strict=True)


def explicit(T: int, times: Sequence[int]) -> Grid:
    """The times as given, checked."""
    return Grid(EXPLICIT, T, tuple(times))
