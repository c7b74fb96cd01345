"""Times at which something smooth in log-SNR is measured, and its values between them.

What a perfect mean leaves of a Gaussian coefficient is Var[eps | x_t] = sigmoid(log-SNR + log variance): a smooth curve
over the log signal-to-noise ratio, whatever the schedule, and a nearly straight one in logarithms. So a few dozen
times say all that a thousand would.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import NoAnswerError, UsageError

__all__ = ["Knots", "signal_log_snr", "times_near"]


@dataclass(frozen=True)
class Knots:
    """Measured times, strictly increasing in 1..T."""

    times: tuple[int, ...]

    @classmethod
    def spread(cls, schedule: NoiseSchedule, count: int) -> Knots:
        """At most ``count`` whole times, evenly spaced in log-SNR from t = 1 to t = T, both included.

        Where alpha_bar_T = 0, T has no log-SNR and stands beside times that are spread from 1 to T - 1. Where times are
        further apart than that (near the data), every time is a knot, so there may be fewer.

        Raises:
            UsageError: a count below 1.
        """
        if count < 1:
            raise UsageError(f"--knots must be at least 1, found {count}")
        x = signal_log_snr(schedule)
        alone = len(x) < schedule.T
        wanted = torch.linspace(float(x[0]), float(x[-1]), max(1, count - alone), dtype=torch.float64)
        nearest = set(times_near(schedule, wanted))
        return cls(tuple(sorted(nearest | ({schedule.T} if alone and count > 1 else set()))))

    def weights(self, schedule: NoiseSchedule, t: Tensor) -> Tensor:
        """How the value at each time is made of the values at the knots: cubic Hermite in log-SNR.

        Slopes at the knots are those of the parabola through three neighbours, so that cubics are nearly and parabolas
        exactly reproduced; beyond the ends the last value is kept.

        Args:
            schedule: the noise schedule.
            t: (B,) int64 in 1..T.

        Returns:
            (B, M) float64, each row sums to 1; a row of the identity at a knot.

        Raises:
            NoAnswerError: T where alpha_bar_T = 0, if T is no knot.
        """
        self._check(schedule, t)
        if self._last_alone(schedule):
            return self._with_last(Knots(self.times[:-1]).weights(schedule, t.clamp(max=schedule.T - 1)), schedule, t)
        if len(self.times) < 3:
            return self.straight(schedule, t)
        knots, i, u = self._between(schedule, t)
        identity, slopes = torch.eye(len(knots), dtype=torch.float64), _slopes(knots)
        h = (knots[i + 1] - knots[i])[:, None]
        values = (1 + 2 * u) * (1 - u).square() * identity[i] + u.square() * (3 - 2 * u) * identity[i + 1]
        return values + h * (u * (1 - u).square() * slopes[i] - u.square() * (1 - u) * slopes[i + 1])

    def straight(self, schedule: NoiseSchedule, t: Tensor) -> Tensor:
        """Weights like those of :meth:`weights`, but straight between neighbours: weights within [0, 1]."""
        self._check(schedule, t)
        if self._last_alone(schedule):
            return self._with_last(Knots(self.times[:-1]).straight(schedule, t.clamp(max=schedule.T - 1)), schedule, t)
        identity = torch.eye(len(self.times), dtype=torch.float64)
        if len(self.times) == 1:
            return identity.expand(len(t), 1)
        _, i, u = self._between(schedule, t)
        return (1 - u) * identity[i] + u * identity[i + 1]

    def _check(self, schedule: NoiseSchedule, t: Tensor) -> None:
        """Refuse T where alpha_bar_T = 0 and T is no knot: no neighbour has its unit."""
        if schedule.ends_at_zero and self.times[-1] != schedule.T and bool((t == schedule.T).any()):
            raise NoAnswerError(
                f"nothing was measured at t={schedule.T}, where alpha_bar is 0; measure more knots, or visit earlier "
                "times"
            )

    def _last_alone(self, schedule: NoiseSchedule) -> bool:
        """Whether alpha_bar = 0 at the last knot: statistics have another unit there, so it is no neighbour."""
        return schedule.ends_at_zero and self.times[-1] == schedule.T and len(self.times) > 1

    @staticmethod
    def _with_last(weights: Tensor, schedule: NoiseSchedule, t: Tensor) -> Tensor:
        """The weights of the other knots for all times but T, which answers for itself alone."""
        last = (t.cpu() == schedule.T).double()[:, None]
        return torch.cat([(1 - last) * weights, last], 1)

    def _between(self, schedule: NoiseSchedule, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(the knots' -log-SNR, rising; the knot below each t; its share of the way to the next, (B, 1))."""
        x_all = -schedule.log_snr[1:]
        knots = x_all[torch.tensor(self.times) - 1]
        x = x_all[t.cpu() - 1].clamp(knots[0], knots[-1])
        i = torch.searchsorted(knots, x, right=True).clamp(1, len(knots) - 1) - 1
        return knots, i, ((x - knots[i]) / (knots[i + 1] - knots[i]))[:, None]


def signal_log_snr(schedule: NoiseSchedule) -> Tensor:
    """The log-SNRs of t = 1, 2, ... as far as there is a signal: (T,), or (T - 1,) where alpha_bar_T = 0 and T > 1."""
    alone = schedule.ends_at_zero and schedule.T > 1
    return schedule.log_snr[1 : schedule.T] if alone else schedule.log_snr[1:]


def times_near(schedule: NoiseSchedule, log_snr: Tensor) -> tuple[int, ...]:
    """The time with a signal whose log-SNR is nearest to each of (n,) float64."""
    return tuple(int(t) + 1 for t in (signal_log_snr(schedule)[None] - log_snr[:, None]).abs().argmin(1))


def _slopes(x: Tensor) -> Tensor:
    """(M, M): row i gives the derivative at x_i of the parabola through three neighbouring values."""
    M = x.numel()
    a = (torch.arange(M) - 1).clamp(0, M - 3)
    A, B, C = x[a], x[a + 1], x[a + 2]
    rows = torch.zeros(M, M, dtype=torch.float64)
    rows.scatter_(1, a[:, None], ((2 * x - B - C) / ((A - B) * (A - C)))[:, None])
    rows.scatter_(1, a[:, None] + 1, ((2 * x - A - C) / ((B - A) * (B - C)))[:, None])
    return rows.scatter_(1, a[:, None] + 2, ((2 * x - A - B) / ((C - A) * (C - B)))[:, None])
