"""The coefficients of one reverse step, free of any model.

The forward family of DDIM has one number, eta: lambda2 = eta^2 beta_tilde is the variance that the posterior
q(x_s | x_t, x_0) keeps when x_0 is known. eta = 1 is DDPM, eta = 0 is DDIM. What is *not* known of x_0 enters
through one line, the lift: Cov[x_s | x_t] = lambda2 I + gamma^2 Cov[x_0 | x_t].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import UsageError

__all__ = ["Eta", "Step", "check_eta"]

Eta = float | tuple[float, ...]
"""How much of beta_tilde is kept as noise: one number, or one a step, from the noise on."""


@dataclass(frozen=True)
class Step:
    """The reverse step from t to s: q(x_s | x_t, x_0) = N(sqrt(abar_s) x_0 + direction * eps, lambda2 I).

    With p = beta_ts / beta_bar_t (the share of the noise at t that was added since s) all of it is

        lambda2     = eta^2 p beta_bar_s
        direction^2 = beta_bar_s - lambda2 = beta_bar_s (1 - eta^2 p)
        gamma       = sqrt(abar_s) (1 - sqrt(u)),   u = (1 - p)(1 - eta^2 p)

    where 1 - sqrt(u) = p (1 + eta^2 - eta^2 p) / (1 + sqrt(u)) loses no digits for small p.

    Args:
        schedule: the noise schedule.
        s: the time to arrive at, 0 <= s < t.
        t: the time to leave, t <= T.
        eta: at least 0. Chosen ones are at most 1 (DDPM); a solver whose noise follows a rule of its own may exceed
            that, as long as lambda2 stays below bbar_s.

    Raises:
        InputError: s and t out of order or out of range.
        UsageError: an eta that is no such number.
    Source: arXiv 2010.02502, equation 7; the lift, arXiv 2201.06503, theorem 1.
    """

    schedule: NoiseSchedule
    s: int
    t: int
    eta: float = 1.0

    def __post_init__(self) -> None:
        _ = self._log_alpha_ts
        if not (self.eta >= 0 and self._not_kept_by_lambda >= 0):
            raise UsageError(
                f"a step from {self.t} to {self.s} cannot keep eta^2 beta_tilde as noise for eta {self.eta}: eta is "
                f"between 0 and {math.sqrt(1 + self._share_kept / self._share):g} there"
            )

    @cached_property
    def _log_alpha_ts(self) -> float:
        return self.schedule.log_alpha_ts(self.s, self.t)

    @property
    def alpha_ts(self) -> float:
        """abar_t / abar_s, in (0, 1)."""
        return math.exp(self._log_alpha_ts)

    @property
    def beta_ts(self) -> float:
        """1 - alpha_ts without cancellation: the variance of q(x_t | x_s)."""
        return -math.expm1(self._log_alpha_ts)

    @property
    def alpha_bar_s(self) -> float:
        """abar_s."""
        return float(self.schedule.alpha_bar[self.s])

    @property
    def beta_bar_s(self) -> float:
        """bbar_s; exactly 0 for s = 0."""
        return float(self.schedule.beta_bar[self.s])

    @property
    def beta_bar_t(self) -> float:
        """bbar_t."""
        return float(self.schedule.beta_bar[self.t])

    @property
    def _share(self) -> float:
        return 1.0 if self.s == 0 else self.beta_ts / self.beta_bar_t

    @property
    def _share_kept(self) -> float:
        """1 - share, as alpha_ts bbar_s / bbar_t."""
        return self.alpha_ts * self.beta_bar_s / self.beta_bar_t

    @property
    def _not_kept_by_lambda(self) -> float:
        """1 - eta^2 p as (1 - eta^2) p + (1 - p), a sum of two non-negative numbers."""
        return (1 - self.eta) * (1 + self.eta) * self._share + self._share_kept

    @property
    def beta_tilde(self) -> float:
        """beta_ts bbar_s / bbar_t, the variance of q(x_s | x_t, x_0) of the Markov chain (DDPM)."""
        return self._share * self.beta_bar_s

    @property
    def lambda2(self) -> float:
        """eta^2 beta_tilde: the variance of x_s that remains when x_t and x_0 are both known."""
        return self.eta**2 * self.beta_tilde

    @property
    def direction(self) -> float:
        """sqrt(bbar_s - lambda2), the coefficient of eps in the posterior mean."""
        return math.sqrt(self.beta_bar_s * self._not_kept_by_lambda)

    @property
    def gamma(self) -> float:
        """d mean / d x_0 at fixed x_t: sqrt(abar_s) - direction * sqrt(abar_t / bbar_t)."""
        p, eta2 = self._share, self.eta**2
        u = self._share_kept * self._not_kept_by_lambda
        return math.sqrt(self.alpha_bar_s) * p * (1 + eta2 - eta2 * p) / (1 + math.sqrt(u))

    def mean_from_x_t(self, x_0: Tensor, x_t: Tensor) -> Tensor:
        """Posterior mean with eps recomputed from (x_0, x_t): gamma x_0 + direction / sqrt(bbar_t) x_t."""
        return self.gamma * x_0 + (self.direction / math.sqrt(self.beta_bar_t)) * x_t

    def mean_from_eps(self, x_0: Tensor, eps: Tensor) -> Tensor:
        """Posterior mean with eps as given: sqrt(abar_s) x_0 + direction * eps."""
        return math.sqrt(self.alpha_bar_s) * x_0 + self.direction * eps

    def lift(self, var_x0: Tensor) -> Tensor:
        """Cov[x_s | x_t] = lambda2 + gamma^2 Cov[x_0 | x_t], elementwise for a diagonal in any orthonormal basis."""
        return self.lambda2 + self.gamma**2 * var_x0


def check_eta(eta: Eta) -> None:
    """Refuse (UsageError) an eta, or one of several, outside [0, 1]."""
    for one in (eta,) if isinstance(eta, float | int) else eta:
        if not 0 <= one <= 1:
            raise UsageError(f"eta must be between 0 (DDIM) and 1 (DDPM), found {one}; change --eta")
