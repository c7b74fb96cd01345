"""The variance table: what one sweep of the network over the data says about every time t.

Kept as sufficient statistics (sums, sums of squares, counts), so that tables of different images merge by adding,
and every value has its standard error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from diffcov.data import DataDescription
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import InputError, NoAnswerError
from diffcov.statistics.base import Placement, Setting, Statistic, Wanted
from diffcov.statistics.control import controlled
from diffcov.statistics.knots import Knots
from diffcov.statistics.moments import Moments
from diffcov.statistics.noise_curve import error_curve, norm_curve
from diffcov.statistics.table_meter import CONTROLS, TableMeter
from diffcov.statistics.table_remarks import on_gamma, on_stderr

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
        alpha_bar: of the schedule, where few times were measured for all of them: what the table says of any time is
            then that of smooth curves over log-SNR, see ``noise_curve``. None: each time speaks for itself alone.
        controls: (T+1, 3, 6), sums of control variates for those curves, see ``control``; with alpha_bar alone.
    """

    name = "table"
    title = "a variance table"
    several = "variance tables"
    kind = "variance-table"
    file = "variance.safetensors"
    placement = Placement.EVERY_TIME
    clips = False
    smooths = decides = True
    place = ("alpha_bar",)

    count: Tensor
    eps_hat_sq: Tensor
    eps_hat_sq_sq: Tensor
    error_sq: Tensor | None = None
    error_sq_sq: Tensor | None = None
    alpha_bar: Tensor | None = None
    controls: Tensor | None = None

    @classmethod
    def empty(cls, T: int, alpha_bar: Tensor | None = None) -> Self:
        """The table of no image."""
        controls = None if alpha_bar is None else torch.zeros(T + 1, *CONTROLS, dtype=torch.float64)
        plain = cls(*(torch.zeros(T + 1, dtype=torch.float64) for _ in range(5)))
        return replace(plain, alpha_bar=alpha_bar, controls=controls)

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
    def begin(cls, setting: Setting) -> TableMeter[Self]:
        schedule, linear = setting.schedule, setting.linear
        return TableMeter(cls.empty(schedule.T, None if linear is None else schedule.alpha_bar), linear)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """The inverse of :meth:`tensors`. TypeError for other names, ValueError for sizes that do not fit."""
        found = cls(**tensors)
        if (found.error_sq is None) != (found.error_sq_sq is None):
            raise ValueError("error_sq and error_sq_sq belong together, and one of them is missing")
        if len({found.alpha_bar is None, found.controls is None, found.alpha_bar is None or not found.knows_error}) > 1:
            raise ValueError("curves over log-SNR are made of alpha_bar, controls and error_sq, and not all are there")
        for name, values in tensors.items():
            shape = (found.T + 1, *(CONTROLS if name == "controls" else ()))
            if values.shape != shape:
                raise ValueError(f"{name} has shape {tuple(values.shape)}, not {shape}")
        return found

    @property
    def T(self) -> int:
        """Number of trained steps."""
        return self.count.numel() - 1

    @cached_property
    def eps_hat_moments(self) -> Moments:
        """E||eps_hat||^2 / d per time: Gamma_t of Analytic-DPM."""
        measured = Moments(self.count, self.eps_hat_sq, self.eps_hat_sq_sq)
        if self.alpha_bar is None:
            return measured
        return norm_curve(self.alpha_bar, self._controlled(measured, 1), self.error_moments)

    @property
    def knows_error(self) -> bool:
        """Whether it knows E||eps - eps_hat||^2 too."""
        return self.error_sq is not None and self.error_sq_sq is not None

    @cached_property
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
        measured = Moments(self.count, self.error_sq, self.error_sq_sq)
        return measured if self.alpha_bar is None else error_curve(self.alpha_bar, self._controlled(measured, 0))

    def _controlled(self, measured: Moments, value: int) -> Moments:
        """What was measured less what the control variates explain of it; (T+1,), of no image at most times."""
        assert self.controls is not None
        at = torch.tensor(self.knots, dtype=torch.long)
        return measured.replaced(at, controlled(measured.at(at), self.controls[at], value, value == 0))

    @property
    def knots(self) -> list[int]:
        """The times with at least one image."""
        return _times(self.count)

    @property
    def times(self) -> list[int]:
        """The times of which it says something."""
        return _times(self.eps_hat_moments.count)

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
        if not 1 <= t <= self.T or moments.count[t] == 0:
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
        if self.alpha_bar is not None and not torch.allclose(self.alpha_bar, schedule.alpha_bar, rtol=1e-9, atol=0):
            raise ValueError("curves over the log-SNR of another schedule")

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
        curves = {} if self.alpha_bar is None else {"knots": len(self.knots)}
        return {"times": f"{len(self.times)} of {self.T}", **curves, "times above one": len(self.above_one), **known}

    def details(self) -> dict[str, Any]:
        Gamma = self.eps_hat_moments.mean()
        found: dict[str, Any] = {"above_one": self.above_one, "Gamma": {str(t): float(Gamma[t]) for t in self.times}}
        if self.knows_error:
            error = self.error_moments.mean()
            found["error_sq"] = {str(t): float(error[t]) for t in self.times}
            found["median_relative_stderr"] = self._median_relative_stderr()
        return found

    def counts(self) -> dict[int, int]:
        return {t: int(self.count[t]) for t in self.knots}

    def wanted(self) -> Wanted | None:
        if self.error_sq is None or self.error_sq_sq is None or self.controls is None:
            return None
        found = self._controlled(Moments(self.count, self.error_sq, self.error_sq_sq), 0).at(torch.tensor(self.knots))
        columns = (sums[:, None] for sums in (found.count, found.total, found.total_sq))
        return Wanted("the squared error", tuple(self.knots), Moments(*columns), 1.0)

    def remarks(self) -> list[str]:
        found = [on_gamma(self.eps_hat_moments.mean(), self.above_one, self.times)]
        if self.knows_error:
            knots = None if self.alpha_bar is None else len(self.knots)
            images = self.count.max() if knots is None else self.count.sum()
            found.append(on_stderr(self.relative_stderr(), int(images), knots))
        return [remark for remark in found if remark]

    def _median_relative_stderr(self) -> float | None:
        """The median over times; None from one image a time."""
        known = self.relative_stderr()
        return None if known.isnan().all() else float(known.nanmedian())

    def relative_stderr(self) -> Tensor:
        """(n,) float64, that of the error over the error, at :attr:`times`; NaN from one image a time."""
        return (self.error_moments.stderr() / self.error_moments.mean())[self.times]

    def _unlike(self, other: Self) -> str:
        curved = (self.alpha_bar is None) != (other.alpha_bar is None)
        apart = "of single times and of curves over log-SNR" if curved else "that know different quantities"
        return f"of T={self.T} and T={other.T}" if self.T != other.T else apart


def _times(count: Tensor) -> list[int]:
    """The times of a count (T+1,) that is not 0."""
    return [int(t) for t in count[1:].nonzero().flatten() + 1]
