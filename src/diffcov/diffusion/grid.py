"""Which K of the T trained times a sampler visits: strictly increasing t_1 < .. < t_K in 1..T.

A trajectory is data. It is made here, checked here, and passed on; the reverse steps are its neighbouring
pairs, last first, ending at the data: (t_{K-1}, t_K), .., (t_1, t_2), (0, t_1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from diffcov.errors import UsageError

__all__ = ["TRAJECTORIES", "Searched", "Trajectory", "ddim", "even", "explicit", "quad"]


@dataclass(frozen=True)
class Trajectory:
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
            raise UsageError("a trajectory needs at least one time, found none")
        for t in self.times:
            if not 1 <= t <= self.T:
                raise UsageError(f"a trajectory's times must be in 1..T={self.T}, found {t}")
        for before, after in zip(self.times, self.times[1:], strict=False):
            if before >= after:
                raise UsageError(f"a trajectory's times must strictly increase, found {before} before {after}")

    @property
    def K(self) -> int:
        """The number of steps, which is the number of network calls."""
        return len(self.times)

    def pairs(self) -> Iterator[tuple[int, int]]:
        """The reverse steps (s, t) in the order they are taken; the last has s = 0."""
        visited = (0, *self.times)
        return zip(reversed(visited[:-1]), reversed(visited[1:]), strict=True)


@dataclass(frozen=True)
class Searched:
    """The cheapest trajectory of each length K = 1..M, as a search over M candidate times found them.

    Attributes:
        T: number of trained steps.
        cost: (M+1,) float64, -ELBO in nats an image at index K; entry 0 is +inf.
        packed: int32 (M (M+1) / 2,), the times of K = 1, then those of K = 2, and so on.
    """

    T: int
    cost: Tensor
    packed: Tensor

    @property
    def longest(self) -> int:
        """M."""
        return self.cost.numel() - 1

    def trajectory(self, K: int) -> Trajectory:
        """The best K times.

        Raises:
            UsageError: a K outside 1..M.
        """
        if not 1 <= K <= self.longest:
            raise UsageError(
                f"optimal trajectories were searched among {self.longest} times, and {K} steps were asked for; "
                "choose fewer --steps, or search among more: diffcov trajectory --candidates"
            )
        start = K * (K - 1) // 2
        return Trajectory("optimal", self.T, tuple(int(t) for t in self.packed[start : start + K]))


def even(T: int, K: int) -> Trajectory:
    """t_k = round(1 + (k-1)(T-1)/(K-1)), both ends included; K = 1 is (T,).

    Source: arXiv 2201.06503, appendix F ("even trajectory").
    """
    _check_K(T, K)
    stride = (T - 1) / (K - 1) if K > 1 else 0.0
    return Trajectory("even", T, tuple(round(1 + k * stride) for k in range(K)) if K > 1 else (T,))


def ddim(T: int, K: int) -> Trajectory:
    """t_k = 1 + (k-1) floor(T/K): the constant stride of arXiv 2010.02502, always K times; ends before T."""
    _check_K(T, K)
    return Trajectory("ddim", T, tuple(1 + k * (T // K) for k in range(K)))


def quad(T: int, K: int) -> Trajectory:
    """t_k = 1 + floor((k-1)^2 0.8 T / (K-1)^2): the quadratic spacing of arXiv 2010.02502; ends near 0.8 T.

    Floors repeat early times once K is large (from K = 30 on at T = 1000). A repeated time moves to the next free
    one, so that K stays what was asked for; without repeats the published times are unchanged.
    """
    _check_K(T, K)
    end = math.sqrt(0.8 * T)
    stride = end / max(1, K - 1)
    times: list[int] = []
    for root in [*(k * stride for k in range(K - 1)), end]:
        wanted = 1 + int(root**2)
        times.append(max(wanted, times[-1] + 1) if times else wanted)
    return Trajectory("quad", T, tuple(times))


def explicit(T: int, times: Sequence[int]) -> Trajectory:
    """The times as given, checked."""
    return Trajectory("explicit", T, tuple(times))


TRAJECTORIES: dict[str, Callable[[int, int], Trajectory]] = {"even": even, "ddim": ddim, "quad": quad}
"""Trajectories by name, each a function of (T, K)."""


def _check_K(T: int, K: int) -> None:
    if not 1 <= K <= T:
        raise UsageError(f"steps must be between 1 and T={T} (got {K}); this model was trained with {T} steps")
