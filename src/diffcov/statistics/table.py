"""The variance table: what one sweep of the network over the data says about every time t.

Kept as sufficient statistics (sums, sums of squares, counts), so that tables of different images merge by adding,
and every value has its standard error.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import InputError
from diffcov.statistics.knots import Knots

__all__ = ["Moments", "VarianceTable"]


@dataclass(frozen=True)
class Moments:
    """Mean and standard error, per time, of a quantity measured once per image.

    Args:
        count: (T+1,) float64, images measured at each t.
        total: (T+1,) float64, sum of the quantity.
        total_sq: (T+1,) float64, sum of its square.
    """

    count: Tensor
    total: Tensor
    total_sq: Tensor

    def mean(self) -> Tensor:
        """(T+1,) float64; NaN where nothing was measured."""
        return self.total / self.count

    def stderr(self) -> Tensor:
        """(T+1,) float64, standard error of the mean; NaN below two images."""
        variance = (self.total_sq - self.total.square() / self.count) / (self.count - 1)
        return torch.where(self.count > 1, (variance.clamp(min=0) / self.count).sqrt(), torch.nan)


@dataclass(frozen=True)
class VarianceTable:
    """Statistics of eps_hat against eps at each t = 1..T; all tensors (T+1,) float64 with index 0 unused.

    Args:
        count: images measured at each t.
        eps_hat_sq: sum over images of ||eps_hat||^2 / d (less its control variate, see ``estimation``).
        eps_hat_sq_sq: sum over images of its square.
        error_sq: sum over images of ||eps - eps_hat||^2 / d.
        error_sq_sq: sum over images of (||eps - eps_hat||^2 / d)^2.
    """

    count: Tensor
    eps_hat_sq: Tensor
    eps_hat_sq_sq: Tensor
    error_sq: Tensor
    error_sq_sq: Tensor

    @classmethod
    def empty(cls, T: int) -> Self:
        """Nothing measured yet."""
        return cls(*(torch.zeros(T + 1, dtype=torch.float64) for _ in range(5)))

    @property
    def T(self) -> int:
        """Number of trained steps."""
        return self.count.numel() - 1

    @property
    def eps_hat_moments(self) -> Moments:
        """E||eps_hat||^2 / d per time: Gamma_t of Analytic-DPM."""
        return Moments(self.count, self.eps_hat_sq, self.eps_hat_sq_sq)

    @property
    def error_moments(self) -> Moments:
        """E||eps - eps_hat||^2 / d per time."""
        return Moments(self.count, self.error_sq, self.error_sq_sq)

    @property
    def measured(self) -> list[int]:
        """The times with at least one image."""
        return [int(t) for t in self.count[1:].nonzero().flatten() + 1]

    @property
    def above_one(self) -> list[int]:
        """The times at which Gamma_t > 1: no perfect mean does that, and var_x0 is then clipped to 0."""
        Gamma = self.eps_hat_moments.mean()
        return [t for t in self.measured if Gamma[t] > 1]

    def value(self, moments: Moments, t: int) -> float:
        """The mean of ``moments`` at t.

        Raises:
            InputError: t was not measured.
        """
        if not 1 <= t <= self.T or self.count[t] == 0:
            raise InputError(
                f"the variance table has no entry for t={t} (it holds {len(self.measured)} of {self.T} times); "
                "measure every time with: diffcov estimate-var --force"
            )
        return float(moments.total[t] / moments.count[t])

    def require(self, times: Iterable[int]) -> None:
        """Check, before any work, that every time was measured (InputError)."""
        for t in times:
            self.value(self.error_moments, t)

    def error_at_all_times(self, schedule: NoiseSchedule) -> Tensor:
        """E||eps - eps_hat||^2 / d for t = 0..T, between measured times straight in log-SNR and logarithms.

        (T+1,) float64 > 0; index 0 is that of t = 1.
        """
        knots = torch.tensor(self.measured)
        weights = Knots(tuple(self.measured)).straight(schedule, torch.arange(1, self.T + 1))
        error = (weights @ self.error_moments.mean()[knots].clamp(min=1e-30).log()).exp()
        return torch.cat([error[:1], error])

    def merge(self, other: VarianceTable) -> VarianceTable:
        """The table of both sets of images together.

        Raises:
            InputError: tables of different length.
        """
        if self.T != other.T:
            raise InputError(f"variance tables of T={self.T} and T={other.T} cannot be merged")
        return VarianceTable(
            *(mine + theirs for mine, theirs in zip(self.tensors().values(), other.tensors().values(), strict=True))
        )

    def tensors(self) -> dict[str, Tensor]:
        """The statistics by name, in the order of the constructor."""
        return {
            "count": self.count,
            "eps_hat_sq": self.eps_hat_sq,
            "eps_hat_sq_sq": self.eps_hat_sq_sq,
            "error_sq": self.error_sq,
            "error_sq_sq": self.error_sq_sq,
        }
