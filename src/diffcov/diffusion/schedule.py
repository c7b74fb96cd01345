"""The noise schedule: how much of the data is left at each time t = 0..T.

Everything follows from one float64 array, ``log_alpha[t] = log(alpha_bar_t / alpha_bar_{t-1})``, because sums of
it lose nothing where differences of alpha_bar do: beta_bar_1 = 1 - alpha_bar_1 and beta_ts for t - s = 1 are
small numbers between large neighbours. Index 0 is data: alpha_bar_0 = 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from diffcov.diffusion.families import cosine_log_alpha, edm_log_alpha, linear_log_alpha, vp_log_alpha
from diffcov.digest import digest_of_values
from diffcov.errors import InputError

__all__ = ["FAMILIES", "NoiseSchedule"]


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """q(x_t | x_0) = N(sqrt(alpha_bar_t) x_0, beta_bar_t I) for t = 0..T.

    Build one with :meth:`linear`, :meth:`cosine`, :meth:`vp`, :meth:`edm`, :meth:`from_betas` or
    :meth:`from_alpha_bar`.

    Args:
        spec: the family and its numbers as plain values; rebuilding from it gives the same schedule.
        log_alpha: (T+1,) float64, log(alpha_bar_t / alpha_bar_{t-1}) < 0 for t >= 1; entry 0 is 0. The last one may be
            -inf: then alpha_bar_T = 0, and x_T holds nothing of x_0.

    Raises:
        InputError: an entry that is not negative, infinity before the end, or no step at all.
    """

    spec: dict[str, Any] = field(repr=True)
    log_alpha: Tensor = field(repr=False)

    def __post_init__(self) -> None:
        steps = self.log_alpha[1:]
        if steps.numel() == 0:
            raise InputError("a noise schedule needs at least one step, found none")
        bad = ~(steps < 0)
        bad[:-1] |= torch.isinf(steps[:-1])
        bad |= (self.alpha_bar[1:] == 0) & ~torch.isinf(steps)
        if bad.any():
            t = int(bad.nonzero()[0]) + 1
            raise InputError(
                f"alpha_bar must fall strictly from 1 and stay above 0; the {self.name} schedule with "
                f"T={self.T} breaks this at t={t}"
            )

    @property
    def name(self) -> str:
        """The family, a key of :data:`FAMILIES`."""
        return str(self.spec["name"])

    @property
    def T(self) -> int:
        """Number of steps the model was trained with."""
        return self.log_alpha.numel() - 1

    @cached_property
    def log_alpha_bar(self) -> Tensor:
        """(T+1,) float64, log alpha_bar_t <= 0."""
        return self.log_alpha.cumsum(0)

    @cached_property
    def alpha_bar(self) -> Tensor:
        """(T+1,) float64 in [0, 1], strictly decreasing, alpha_bar_0 = 1."""
        return self.log_alpha_bar.exp()

    @cached_property
    def beta_bar(self) -> Tensor:
        """(T+1,) float64 in [0, 1], 1 - alpha_bar_t without cancellation."""
        return -self.log_alpha_bar.expm1()

    @cached_property
    def ratio(self) -> Tensor:
        """(T+1,) float64, r_t = beta_bar_t / alpha_bar_t: Cov[x_0 | x_t] = r_t Cov[eps | x_t].

        Where alpha_bar_T = 0 the error of eps says nothing of that of x_0. Statistics then hold the latter itself, in
        the unit r_T = 1.
        """
        return (self.beta_bar / self.alpha_bar).where(self.alpha_bar > 0, torch.ones_like(self.beta_bar))

    @cached_property
    def log_snr(self) -> Tensor:
        """(T+1,) float64, log(alpha_bar_t / beta_bar_t), falling; +inf at t = 0, -inf where alpha_bar_T = 0."""
        return self.log_alpha_bar - self.beta_bar.log()

    @property
    def ends_at_zero(self) -> bool:
        """Whether alpha_bar_T = 0: x_T is noise alone (zero terminal signal-to-noise ratio)."""
        return bool(torch.isinf(self.log_alpha[-1]))

    def snr_gain(self, s: Tensor, t: int | Tensor) -> Tensor:
        """rho = abar_s/bbar_s - abar_t/bbar_t = abar_s beta_ts / (bbar_s bbar_t) for s in 1..t; (S,) float64.

        For DDPM this is gamma^2 / lambda2 of the step from t to s.
        """
        beta_ts = -torch.expm1(self.log_alpha_bar[t] - self.log_alpha_bar[s])
        return self.alpha_bar[s] * beta_ts / (self.beta_bar[s] * self.beta_bar[t])

    def log_alpha_ts(self, s: int, t: int) -> float:
        """log(alpha_bar_t / alpha_bar_s) for 0 <= s < t <= T, summed exactly."""
        if not 0 <= s < t <= self.T:
            raise InputError(f"a step needs 0 <= s < t <= T={self.T}, found s={s}, t={t}")
        return math.fsum(self.log_alpha[s + 1 : t + 1].tolist())

    def until(self, t: int) -> NoiseSchedule:
        """The schedule of its first t times, t in 1..T: for grids that end there."""
        return NoiseSchedule({"name": "until", "t": t, "of": self.spec}, self.log_alpha[: t + 1])

    @cached_property
    def fingerprint(self) -> str:
        """sha256 (hex) of the spec: equal for schedules that are the same, on every machine."""
        return digest_of_values(self.spec)

    def summary(self) -> dict[str, Any]:
        """What reports say of it, as plain values: name, T and fingerprint."""
        return {"name": self.name, "T": self.T, "fingerprint": self.fingerprint}

    @property
    def warning(self) -> str | None:
        """What is wrong with the end of the schedule (x_T not noise, or x_0 out of reach), if anything."""
        end = float(self.alpha_bar[-1])
        if end > 1e-2:
            advice = "scale beta by 1000/T or raise T"
            return f"the {self.name} schedule ends at alpha_bar={end:.3g}: x_T is not pure noise; {advice}"
        if 0 < end < 1e-10:
            return f"the {self.name} schedule ends at alpha_bar={end:.3g}: x_0 can hardly be recovered from x_T"
        return None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NoiseSchedule) and self.spec == other.spec

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    @classmethod
    def linear(cls, T: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> Self:
        """beta_t evenly spaced from beta_start * 1000/T to beta_end * 1000/T.

        The factor 1000/T keeps the end of the schedule at noise for every T.

        Raises:
            InputError: a T so small that beta would reach 1 (T <= 20 with the default range).
        Source: arXiv 2006.11239, section 4; the factor, arXiv 2102.09672.
        """
        return cls._named("linear", linear_log_alpha, T, beta_start=beta_start, beta_end=beta_end)

    @classmethod
    def cosine(cls, T: int = 1000, offset: float = 0.008) -> Self:
        """alpha_bar_t = f(t)/f(0), f(t) = cos^2((t/T + offset)/(1 + offset) * pi/2), each beta_t at most 0.999.

        Source: arXiv 2102.09672, equation 17.
        """
        return cls._named("cosine", cosine_log_alpha, T, offset=offset)

    @classmethod
    def vp(cls, T: int = 1000, beta_min: float = 0.1, beta_max: float = 20.0) -> Self:
        """The VP-SDE at times u = t/T: log alpha_bar_t = -(beta_min u + (beta_max - beta_min) u^2 / 2).

        Source: arXiv 2011.13456.
        """
        return cls._named("vp", vp_log_alpha, T, beta_min=beta_min, beta_max=beta_max)

    @classmethod
    def edm(cls, T: int = 1000, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0) -> Self:
        """alpha_bar_t = 1 / (1 + sigma_t^2), sigma_t^(1/rho) evenly spaced from sigma_min to sigma_max.

        K even times of it are the K noise levels that EDM samples at. Source: arXiv 2206.00364, equation 5.

        Raises:
            InputError: ends that are not 0 < sigma_min < sigma_max, or a rho that is not positive.
        """
        return cls._named("edm", edm_log_alpha, T, sigma_min=sigma_min, sigma_max=sigma_max, rho=rho)

    @classmethod
    def _named(cls, name: str, log_alpha: Callable[..., Tensor], T: int, **numbers: float) -> Self:
        spec = {"name": name, "T": int(T), **{key: float(value) for key, value in numbers.items()}}
        return cls(spec, _with_data_step(log_alpha(T, **numbers)))

    @classmethod
    def from_alpha_bar(cls, alpha_bar: Sequence[float] | Tensor) -> Self:
        """A schedule given by its values alpha_bar_1..alpha_bar_T (without alpha_bar_0 = 1); the last may be 0.

        Raises:
            InputError: values that do not fall strictly from 1 towards 0.
        """
        values = torch.as_tensor(alpha_bar, dtype=torch.float64).flatten()
        previous = torch.cat([torch.ones(1, dtype=torch.float64), values[:-1]])
        spec = {"name": "custom", "alpha_bar": values.tolist()}
        log_alpha = torch.log1p((values - previous) / previous).where(values > previous / 2, (values / previous).log())
        return cls(spec, _with_data_step(log_alpha))

    @classmethod
    def from_betas(cls, betas: Sequence[float] | Tensor) -> Self:
        """A schedule given by beta_1..beta_T, each in (0, 1); the last may be 1, which makes alpha_bar_T = 0.

        Raises:
            InputError: a value outside that range.
        """
        values = torch.as_tensor(betas, dtype=torch.float64).flatten()
        spec = {"name": "betas", "betas": values.tolist()}
        return cls(spec, _with_data_step(torch.log1p(-values)))

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> NoiseSchedule:
        """The inverse of ``spec``.

        Raises:
            InputError: a family or a number that this version does not know.
        """
        numbers = {key: value for key, value in spec.items() if key != "name"}
        try:
            return FAMILIES[spec["name"]](**numbers)  # type: ignore[no-any-return]
        except (KeyError, TypeError) as error:
            raise InputError(f"this is not a noise schedule that diffcov knows: {spec} ({error})") from error


FAMILIES: dict[str, Any] = {
    "linear": NoiseSchedule.linear,
    "cosine": NoiseSchedule.cosine,
    "vp": NoiseSchedule.vp,
    "edm": NoiseSchedule.edm,
    "betas": NoiseSchedule.from_betas,
    "custom": NoiseSchedule.from_alpha_bar,
}
"""Schedule families by name; all but "betas" and "custom" take T first."""


def _with_data_step(log_alpha: Tensor) -> Tensor:
    return torch.cat([torch.zeros(1, dtype=torch.float64), log_alpha])
