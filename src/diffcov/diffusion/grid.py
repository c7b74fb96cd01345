"""Which K of the T trained times a sampler visits: strictly increasing t_1 < .. < t_K in 1..T.

A grid is data. It is made here, checked here, and passed on; the reverse steps are its neighbouring pairs, last first,
ending at the data: (t_{K-1}, t_K), .., (t_1, t_2), (0, t_1). (Papers call it a trajectory.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256

from diffcov.errors import UsageError

__all__ = ["ALIASES", "GRIDS", "Grid", "even", "explicit", "quad", "stride"]

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


def even(T: int, K: int) -> Grid:
    """t_k = round(1 + (k-1)(T-1)/(K-1)), both ends included; K = 1 is (T,).

    Rounded from exact fractions, halves to the even number. The authors' code rounds the stride to float64 first, which
    moves single times by one at 85 of the 999 K of T = 1000 (at none of 5, 10, 25, 50, 100 and 200).

    Source: arXiv 2201.06503, appendix F ("even trajectory").
    """
    _check_K(T, K)
    if K == 1:
        return Grid("even", T, (T,))
    return Grid("even", T, tuple(round(1 + Fraction(k * (T - 1), K - 1)) for k in range(K)))


def stride(T: int, K: int) -> Grid:
    """t_k = 1 + (k-1) floor(T/K): the constant stride of arXiv 2010.02502, K times; ends before T, at T for K = T."""
    _check_K(T, K)
    return Grid("stride", T, tuple(1 + k * (T // K) for k in range(K)))


def quad(T: int, K: int) -> Grid:
    """t_k = 1 + floor(((k-1) sqrt(0.8 T) / (K-1))^2), K = 1 the end alone: arXiv 2010.02502; ends near 0.8 T.

    Squares are those of float64 roots, as published: where one is a whole number, it may lie just below it. Floors
    repeat early times once K is large (from K = 30 on at T = 1000). A repeated time moves to the next free one, so
    that K stays what was asked for; without repeats the published times are unchanged.
    """
    _check_K(T, K)
    end = math.sqrt(0.8 * T)
    times: list[int] = []
    for root in [*(k * (end / max(1, K - 1)) for k in range(K - 1)), end]:
        wanted = 1 + int(root**2)
        times.append(max(wanted, times[-1] + 1) if times else wanted)
    return Grid("quad", T, tuple(times))


def explicit(T: int, times: Sequence[int]) -> Grid:
    """The times as given, checked."""
    return Grid(EXPLICIT, T, tuple(times))


GRIDS: dict[str, Callable[[int, int], Grid]] = {"even": even, "stride": stride, "quad": quad}
"""Grids by name, each a function of (T, K)."""

ALIASES = {"ddim": "stride"}
"""Earlier names that are still understood."""


def _check_K(T: int, K: int) -> None:
    if not 1 <= K <= T:
        raise UsageError(f"steps must be between 1 and T={T} (got {K}); this model was trained with {T} steps")
