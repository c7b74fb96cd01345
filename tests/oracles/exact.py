"""Schedules and reverse steps from the papers' formulas as they are printed, in 50 digits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from mpmath.ctx_mp import MPContext

MP = MPContext()
MP.dps = 50
"""So many digits that naive differences of neighbouring numbers are exact to far below float64."""


@dataclass(frozen=True, eq=False)
class ExactSchedule:
    """alpha_bar_0 = 1, .., alpha_bar_T, and the differences of the definition."""

    alpha_bar: tuple[MP.mpf, ...]

    @property
    def T(self) -> int:
        return len(self.alpha_bar) - 1

    def beta_bar(self, t: int) -> MP.mpf:
        return 1 - self.alpha_bar[t]

    def alpha_ts(self, s: int, t: int) -> MP.mpf:
        return self.alpha_bar[t] / self.alpha_bar[s]

    def beta_ts(self, s: int, t: int) -> MP.mpf:
        return 1 - self.alpha_ts(s, t)

    def beta_tilde(self, s: int, t: int) -> MP.mpf:
        return self.beta_ts(s, t) * self.beta_bar(s) / self.beta_bar(t)

    def lambda2(self, s: int, t: int, eta: float) -> MP.mpf:
        return MP.mpf(eta) ** 2 * self.beta_tilde(s, t)

    def direction(self, s: int, t: int, eta: float) -> MP.mpf:
        return MP.sqrt(self.beta_bar(s) - self.lambda2(s, t, eta))

    def gamma(self, s: int, t: int, eta: float) -> MP.mpf:
        share = MP.sqrt(self.alpha_bar[t] / self.beta_bar(t))
        return MP.sqrt(self.alpha_bar[s]) - self.direction(s, t, eta) * share


def from_betas(betas: list[MP.mpf]) -> ExactSchedule:
    """alpha_bar_t = product of (1 - beta_i)."""
    products = [MP.mpf(1)]
    for beta in betas:
        products.append(products[-1] * (1 - beta))
    return ExactSchedule(tuple(products))


def linear(T: int) -> ExactSchedule:
    """beta_t evenly spaced from 1e-4 to 0.02, times 1000/T."""
    first, last, scale = MP.mpf("0.0001"), MP.mpf("0.02"), MP.mpf(1000) / T
    return from_betas([scale * (first + (last - first) * (t - 1) / (T - 1)) for t in range(1, T + 1)])


def cosine(T: int) -> ExactSchedule:
    """beta_t = min(1 - f(t)/f(t-1), 0.999), f(t) = cos^2((t/T + 0.008) / 1.008 * pi/2)."""
    f = [MP.cos((MP.mpf(t) / T + MP.mpf("0.008")) / MP.mpf("1.008") * MP.pi / 2) ** 2 for t in range(T + 1)]
    return from_betas([min(1 - after / before, MP.mpf("0.999")) for before, after in pairwise(f)])


def vp(T: int) -> ExactSchedule:
    """log alpha_bar at u = t/T is -(0.1 u + 19.9 u^2 / 2)."""
    us = [MP.mpf(t) / T for t in range(T + 1)]
    return ExactSchedule(tuple(MP.exp(-(MP.mpf("0.1") * u + MP.mpf("19.9") * u * u / 2)) for u in us))


def edm(T: int) -> ExactSchedule:
    """sigma_t = (0.002^(1/7) + (t-1)/(T-1) (80^(1/7) - 0.002^(1/7)))^7; one step alone goes to 80."""
    low, high = MP.mpf("0.002") ** (MP.mpf(1) / 7), MP.mpf(80) ** (MP.mpf(1) / 7)
    levels = [(low + (high - low) * t / (T - 1)) ** 7 for t in range(T)] if T > 1 else [MP.mpf(80)]
    return ExactSchedule((MP.mpf(1), *(1 / (1 + sigma**2) for sigma in levels)))


@cache
def exact(family: str, T: int) -> ExactSchedule:
    """A family with its published numbers."""
    return {"linear": linear, "cosine": cosine, "vp": vp, "edm": edm}[family](T)


def relative_error(found: float, expected: MP.mpf) -> float:
    """|found / expected - 1|; 0 where both are exactly 0."""
    if expected == 0:
        return abs(found)
    return float(abs(MP.mpf(found) / expected - 1))
