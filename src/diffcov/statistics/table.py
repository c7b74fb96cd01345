"""The variance table: what one sweep of the network over the data says about every time t.

Kept as sufficient statistics (sums, sums of squares, counts), so that tables of different images merge by adding,
and every value has its standard error.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from diffcov.data import DataDescription
from diffcov.denoiser.noised import Noised
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import InputError, NoAnswerError
from diffcov.statistics.base import Placement, Setting, Statistic
from diffcov.statistics.knots import Knots
from diffcov.statistics.moments import Moments

__all__ = ["VarianceTable"]


@dataclass(frozen=True, repr=False)
class VarianceTable(Statistic):
    """Statistics of eps_hat against eps at each t = 1..T; all tensors (T+1,) float64 with index 0 unused.

    Args:
        count: images measured at each t.
        eps_hat_sq: sum over images of ||eps_hat||^2 / d (less its control variate, see :class:`TableMeter`).
        eps_hat_sq_sq: sum over images of its square.
        error_sq: sum over images of ||eps - eps_hat||^2 / d; None in a table that knows the norm alone, as published
            ones do.
        error_sq_sq: sum over images of (||eps - eps_hat||^2 / d)^2; None likewise.
    """

    name = "table"
    title = "a variance table"
    several = "variance tables"
    kind = "variance-table"
    file = "variance.safetensors"
    placement = Placement.EVERY_TIME
    clips = False

    count: Tensor
    eps_hat_sq: Tensor
    eps_hat_sq_sq: Tensor
    error_sq: Tensor | None = None
    error_sq_sq: Tensor | None = None

    @classmethod
    def empty(cls, T: int) -> Self:
        """The table of no image."""
        return cls(*(torch.zeros(T + 1, dtype=torch.float64) for _ in range(5)))

    @classmethod
    def of_norms(cls, norms: Sequence[float] | Tensor) -> Self:
        """A table that knows E||eps_hat||^2 / d alone, as published ones do (``ms_eps``), without standard errors.

        Args:
            norms: of t = 1..T.
        """
        values = torch.as_tensor(norms, dtype=torch.float64).flatten()
        values = torch.cat([values.new_zeros(1), values])
        count = torch.ones_like(values)
        count[0] = 0
        return cls(count, values, values.square())

    @classmethod
    def begin(cls, setting: Setting) -> TableMeter:
        return TableMeter(cls.empty(setting.schedule.T))

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """The inverse of :meth:`tensors`. TypeError for other names, ValueError for sizes that do not fit."""
        found = cls(**tensors)
        if (found.error_sq is None) != (found.error_sq_sq is None):
            raise ValueError("error_sq and error_sq_sq belong together, and one of them is missing")
        for name, values in tensors.items():
            if values.ndim != 1 or len(values) != found.T + 1:
                raise ValueError(f"{name} has shape {tuple(values.shape)}, not {(found.T + 1,)}")
        return found

    @property
    def T(self) -> int:
        """Number of trained steps."""
        return self.count.numel() - 1

    @property
    def eps_hat_moments(self) -> Moments:
        """E||eps_hat||^2 / d per time: Gamma_t of Analytic-DPM."""
        return Moments(self.count, self.eps_hat_sq, self.eps_hat_sq_sq)

    @property
    def knows_error(self) -> bool:
        """Whether it knows E||eps - eps_hat||^2 too."""
        return self.error_sq is not None and self.error_sq_sq is not None

    @property
    def error_moments(self) -> Moments:
        """E||eps - eps_hat||^2 / d per time.

        Raises:
            NoAnswerError: the table does not know it.
        """
        if self.error_sq is None or self.error_sq_sq is None:
            raise NoAnswerError(
                "this variance table knows E||eps_hat||^2 alone, as published ones do, and not the error of the mean; "
                f"analytic can be used with it, for anything else measure your own with: {self.remedy}"
            )
        return Moments(self.count, self.error_sq, self.error_sq_sq)

    @property
    def times(self) -> list[int]:
        """The times with at least one image."""
        return [int(t) for t in self.count[1:].nonzero().flatten() + 1]

    @property
    def above_one(self) -> list[int]:
        """The times at which Gamma_t > 1: no perfect mean does that, and var_x0 is then clipped to 0."""
        Gamma = self.eps_hat_moments.mean()
        return [t for t in self.times if Gamma[t] > 1]

    def value(self, moments: Moments, t: int) -> float:
        """The mean of ``moments`` at t.

        Raises:
            InputError: t was not measured.
        """
        if not 1 <= t <= self.T or self.count[t] == 0:
            raise InputError(
                f"the variance table has no entry for t={t} (it holds {len(self.times)} of {self.T} times); "
                f"measure every time with: {self.remedy}"
            )
        return float(moments.total[t] / moments.count[t])

    def error_at(self, t: int) -> float:
        """E||eps - eps_hat||^2 / d at t.

        Raises:
            NoAnswerError: the table does not know it.
            InputError: t was not measured.
        """
        return self.value(self.error_moments, t)

    def check_times(self, times: Iterable[int]) -> None:
        for t in times:
            self.value(self.eps_hat_moments, t)

    def check_fits(self, schedule: NoiseSchedule, data: DataDescription) -> None:
        if self.T != schedule.T:
            raise ValueError(f"{self.T} times, but its schedule has T={schedule.T}")

    def error_at_all_times(self, schedule: NoiseSchedule) -> Tensor:
        """E||eps - eps_hat||^2 / d for t = 0..T, between measured times straight in log-SNR and logarithms.

        (T+1,) float64 > 0; index 0 is that of t = 1.
        """
        knots = torch.tensor(self.times)
        weights = Knots(tuple(self.times)).straight(schedule, torch.arange(1, self.T + 1))
        error = (weights @ self.error_moments.mean()[knots].clamp(min=1e-30).log()).exp()
        return torch.cat([error[:1], error])

    def summary(self) -> dict[str, Any]:
        known = {} if self.knows_error else {"knows": "E||eps_hat||^2 alone: analytic can use it, nothing else"}
        return {"times": f"{len(self.times)} of {self.T}", "times above one": len(self.above_one), **known}

    def details(self) -> dict[str, Any]:
        Gamma = self.eps_hat_moments.mean()
        found: dict[str, Any] = {"above_one": self.above_one, "Gamma": {str(t): float(Gamma[t]) for t in self.times}}
        if self.knows_error:
            error = self.error_moments.mean()
            found["error_sq"] = {str(t): float(error[t]) for t in self.times}
            found["median_relative_stderr"] = self._median_relative_stderr()
        return found

    def remarks(self) -> list[str]:
        return [*self._remark_above_one(), *self._remark_stderr()]

    def _remark_above_one(self) -> list[str]:
        Gamma, above = self.eps_hat_moments.mean(), self.above_one
        if not above:
            return []
        worst = max(above, key=lambda t: float(Gamma[t]))
        return [
            f"E||eps_hat||^2/d exceeds 1 at {len(above)} of {len(self.times)} times (largest "
            f"{float(Gamma[worst]):.4f} at t={worst}): the mean is imperfect there, and analytic takes its lower bound"
        ]

    def _remark_stderr(self) -> list[str]:
        if not self.knows_error:
            return []
        error = self._median_relative_stderr()
        shown = "unknown from one image" if error is None else f"{error:.1%}"
        images = int(self.count.max())
        return [f"{images} images at {len(self.times)} times; median standard error of a variance {shown}"]

    def _median_relative_stderr(self) -> float | None:
        """Standard error of the error over the error, the median over times; None from one image a time."""
        moments = self.error_moments
        median = float((moments.stderr() / moments.mean())[self.times].nanmedian())
        return None if math.isnan(median) else median

    def _unlike(self, other: Self) -> str:
        return f"of T={self.T} and T={other.T}" if self.T != other.T else "that know different quantities"


class TableMeter:
    """Adds up the norms of eps_hat and of its error.

    The drawn noise's own ||eps||^2 / d, whose mean is known to be 1, serves as control variate of ||eps_hat||^2 / d.
    What ``analytic`` needs is 1 - Gamma_t, which falls to 1e-3 while the plain estimate of Gamma_t scatters by
    sqrt(2 / (d M)); where eps_hat is close to eps that scatter is common to both and cancels. (At small t, where they
    are not close, 1 - Gamma_t is near 1 and its relative error is that of ||eps - eps_hat||^2.)

    Source: arXiv 2201.06503, equation 8 (Monte Carlo estimate of Gamma); arXiv 2206.07309 for the error.

    Args:
        table: what is added to, in place.
    """

    def __init__(self, table: VarianceTable) -> None:
        self._table = table

    def add(self, noised: Noised) -> None:
        """One batch."""
        look, eps = noised.look, noised.eps
        t = look.t.cpu() if isinstance(look.t, Tensor) else torch.full((len(eps),), look.t)
        norm = per_image(noised.eps_hat) - per_image(eps) + 1
        error = per_image(noised.residual)
        sums = (torch.ones_like(norm), norm, norm.square(), error, error.square())
        for total, values in zip(self._table.tensors().values(), sums, strict=True):
            total.index_add_(0, t, values)

    def result(self) -> VarianceTable:
        """The table."""
        return self._table


def per_image(values: Tensor) -> Tensor:
    """||values||^2 / d per image: (B, C, H, W) -> (B,) float64 on the CPU."""
    return values.square().flatten(1).mean(1, dtype=torch.float64).cpu()
