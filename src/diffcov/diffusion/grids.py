"""The grids that have a name: which K of the T trained times, by a rule. Importing this file imports no torch.

To add one: write a function of (schedule, K) here, and its entry in :data:`GRIDS`.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from diffcov.diffusion.grid import Grid
from diffcov.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from diffcov.diffusion.schedule import NoiseSchedule

__all__ = ["ALIASES", "GRIDS", "edm", "even", "linspace", "logsnr", "make_grid", "quad", "stride", "trailing"]

RHO = 7
"""How strongly ``edm`` favours small noise: even in sigma^(1/7). Source: arXiv 2206.00364, equation 5 and table 1."""


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


def linspace(T: int, K: int) -> Grid:
    """t_k = 1 + round((k-1)(T-1)/(K-1)) as numpy rounds it: ``linspace`` of diffusers, 0-based times moved up by one.

    It is ``even`` but for halves, which are rounded before one is added: T = 1000, K = 5 visits 501, not 500. K = 1 is
    (T,), where numpy gives the start.
    """
    _check_K(T, K)
    if K == 1:
        return Grid("linspace", T, (T,))
    return Grid("linspace", T, tuple(1 + round(Fraction(k * (T - 1), K - 1)) for k in range(K)))


def trailing(T: int, K: int) -> Grid:
    """t_k = round(k T / K), k = 1..K: ``trailing`` of diffusers; ends at T. Source: arXiv 2305.08891, table 2."""
    _check_K(T, K)
    return Grid("trailing", T, tuple(sorted(round(T - k * (T / K)) for k in range(K))))


def logsnr(schedule: NoiseSchedule, K: int) -> Grid:
    """Even in lambda = log(sqrt(abar) / sqrt(bbar)) from 1 to T: the steps of DPM-Solver. Source: arXiv 2206.00927."""
    return _even_in("logsnr", schedule, K, -schedule.log_snr)


def edm(schedule: NoiseSchedule, K: int) -> Grid:
    """Even in sigma^(1/7), sigma = sqrt(bbar / abar), from 1 to T. Source: arXiv 2206.00364, equation 5."""
    return _even_in("edm", schedule, K, (schedule.log_snr / (-2 * RHO)).exp())


GRIDS: dict[str, Callable[[NoiseSchedule, int], Grid]] = {
    "even": lambda schedule, K: even(schedule.T, K),
    "stride": lambda schedule, K: stride(schedule.T, K),
    "quad": lambda schedule, K: quad(schedule.T, K),
    "linspace": lambda schedule, K: linspace(schedule.T, K),
    "trailing": lambda schedule, K: trailing(schedule.T, K),
    "logsnr": logsnr,
    "edm": edm,
}
"""Grids by name, each a function of the schedule and K."""

ALIASES = {"ddim": "stride", "leading": "stride"}
"""Other names that are understood: what DDIM's authors and diffusers call the constant stride."""


def make_grid(name: str, schedule: NoiseSchedule, K: int, until: int | None = None) -> Grid:
    """The grid that a name means.

    Args:
        name: a key of :data:`GRIDS` or of :data:`ALIASES`.
        schedule: of the mean.
        K: number of times.
        until: spread over the times 1..until, as if the schedule ended there; None: over all of them.

    Raises:
        UsageError: no such name, an end that is no time, or more steps than there are times.
    """
    known = ALIASES.get(name, name)
    if known not in GRIDS:
        raise UsageError.unknown("grid", name, GRIDS)
    if until is None:
        return GRIDS[known](schedule, K)
    if not K <= until <= schedule.T:
        raise UsageError(f"{K} steps that start at t = {until} need a start in {K}..T={schedule.T}; change --start")
    return Grid(known, schedule.T, GRIDS[known](schedule.until(until), K).times)


def _even_in(name: str, schedule: NoiseSchedule, K: int, values: Tensor) -> Grid:
    """K times at which ``values``, which rise with t, are as evenly spread as whole times allow; from 1 to T.

    Each target takes the nearest time; where two would meet, the later ones move up to the next free time, and from
    the end down again. Where alpha_bar_T = 0 the value at T is infinite: T is the last time, and the others are spread
    up to T - 1.
    """
    T = schedule.T
    _check_K(T, K)
    if K == 1:
        return Grid(name, T, (T,))
    finite = T - 1 if not math.isfinite(values[T]) else T
    own = [float(one) for one in values[1 : finite + 1]]
    count = K - (T - finite)
    step = (own[-1] - own[0]) / max(1, count - 1)
    times = [_nearest(own, own[0] + k * step) for k in range(count)]
    for k in range(1, count):
        times[k] = max(times[k], times[k - 1] + 1)
    for k in reversed(range(count)):
        times[k] = min(times[k], finite - (count - 1 - k))
    return Grid(name, T, tuple(times) + ((T,) if finite < T else ()))


def _nearest(values: Sequence[float], wanted: float) -> int:
    """The time in 1..len(values) whose value is nearest."""
    above = min(bisect_left(values, wanted), len(values) - 1)
    if above == 0:
        return 1
    return above + 1 if values[above] - wanted < wanted - values[above - 1] else above


def _check_K(T: int, K: int) -> None:
    if not 1 <= K <= T:
        raise UsageError(f"steps must be between 1 and T={T} (got {K}); this model was trained with {T} steps")
