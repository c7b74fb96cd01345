"""The search for the scale of eps_hat: a minimum near 1 of a measured function, in few probes, and what it found."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["GAIN", "LIMIT", "STEP", "FittedScale", "search_scale"]

STEP = 0.005
"""The first step upwards from 1, in log scale; the next ones double. The first one downwards is twice that."""
LIMIT = 0.2
"""The search ends here, in log scale: a mean that is off by more than e^0.2 = 1.22 is not to be mended by a number."""
HALVINGS = 3
"""Probes once the lowest place is enclosed."""
GAIN = 0.15
"""A scale must lower the mismatch by this share of it. Where contrast is off for another reason than the scale of
eps_hat (a mean that is far from trained, strokes that break), the lowest place trades one fault for another."""


@dataclass(frozen=True)
class FittedScale:
    """A scale and what led to it.

    Attributes:
        scale: what eps_hat is divided by.
        tried: (scale, mismatch) of every probe, by scale.
    """

    scale: float
    tried: tuple[tuple[float, float], ...]

    @property
    def mismatch_at_one(self) -> float:
        """The mismatch where eps_hat is not scaled."""
        return dict(self.tried)[1.0]

    @property
    def lowest_mismatch(self) -> float:
        """The lowest mismatch of all probes; at the scale itself, which lies between probes, it is about that."""
        return min(mismatch for _, mismatch in self.tried)

    @property
    def at_limit(self) -> bool:
        """Whether the mismatch still falls at the limit of the search."""
        return min(self.tried, key=lambda probe: probe[1])[0] in (math.exp(LIMIT), math.exp(-LIMIT))


def search_scale(mismatch: Callable[[float], float]) -> FittedScale:
    """The scale at which ``mismatch(scale)`` >= 0 is lowest; 1 where too little is gained or that is beyond the limit.

    From 1 downhill in steps that double until three probes enclose the lowest place, then by halving the wider side,
    and last to the vertex of the parabola through the squares of three values: f^2 is taken for (x - x_0)^2 + floor^2
    in x = log scale, for which that is exact. At most 11 probes, 6 to 9 as a rule.
    """
    tried: dict[float, float] = {}

    def f(x: float) -> float:
        if x not in tried:
            tried[x] = mismatch(math.exp(x))
        return tried[x]

    found = _lowest(f)
    evidence = tuple((math.exp(x), tried[x]) for x in sorted(tried))
    worth_it = abs(found) < LIMIT and min(tried.values()) <= (1 - GAIN) * tried[0.0]
    return FittedScale(math.exp(found) if worth_it else 1.0, evidence)


def _lowest(f: Callable[[float], float]) -> float:
    """Where f, which remembers its values, is lowest; behind, best, ahead are in the direction of the walk."""
    behind, best = (0.0, STEP) if f(STEP) < f(0.0) else (STEP, 0.0)
    ahead = best + 2 * (best - behind)
    while f(ahead) < f(best) and abs(ahead) < LIMIT:
        behind, best, ahead = best, ahead, max(-LIMIT, min(LIMIT, ahead + 2 * (ahead - best)))
    if f(ahead) < f(best):
        between = (best + ahead) / 2
        if f(between) > f(ahead):
            return ahead
        behind, best = best, between
    for _ in range(HALVINGS):
        near, far = sorted((behind, ahead), key=lambda x: abs(x - best))
        between = (best + far) / 2
        behind, best, ahead = (best, between, far) if f(between) < f(best) else (between, best, near)
    return _vertex(*((x, f(x) ** 2) for x in (behind, best, ahead)))


def _vertex(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> float:
    """The vertex of the parabola through three points, the middle one not above the others."""
    slope_ab, slope_bc = (b[1] - a[1]) / (b[0] - a[0]), (c[1] - b[1]) / (c[0] - b[0])
    if slope_ab == slope_bc:
        return b[0]
    return (a[0] + b[0]) / 2 - slope_ab * (c[0] - a[0]) / (2 * (slope_bc - slope_ab))
