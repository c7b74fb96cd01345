"""The mixture world: pixels are independent draws of a one-dimensional Gaussian mixture.

The covariance of x_0 given x_t then depends on x_t, and is closed form: component k of x_t is
N(sqrt(abar) m_k, abar v_k + bbar), and inside a component everything is Gaussian.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffcov.diffusion.schedule import NoiseSchedule


@dataclass(frozen=True)
class MixtureWorld:
    """x_0 ~ sum_k weights_k N(means_k, variances_k) per pixel, float64."""

    schedule: NoiseSchedule
    weights: tuple[float, ...] = (0.3, 0.7)
    means: tuple[float, ...] = (-0.7, 0.4)
    variances: tuple[float, ...] = (0.01, 0.04)

    def _bars(self, t: int) -> tuple[float, float]:
        return float(self.schedule.alpha_bar[t]), float(self.schedule.beta_bar[t])

    def _numbers(self) -> tuple[Tensor, Tensor, Tensor]:
        return tuple(torch.tensor(v, dtype=torch.float64) for v in (self.weights, self.means, self.variances))

    def log_density(self, x_t: Tensor, t: int) -> Tensor:
        """log q(x_t) per pixel; t = 0 is the data."""
        return self._log_joint(x_t, t).logsumexp(-1)

    def _log_joint(self, x_t: Tensor, t: int) -> Tensor:
        weights, means, variances = self._numbers()
        abar, bbar = self._bars(t)
        normal = torch.distributions.Normal(abar**0.5 * means, (abar * variances + bbar).sqrt())
        return weights.log() + normal.log_prob(x_t[..., None])

    def _components(self, x_t: Tensor, t: int) -> tuple[Tensor, Tensor, Tensor]:
        """(responsibility, E[x_0 | x_t, k], Var[x_0 | x_t, k]) with a last axis over k."""
        _, means, variances = self._numbers()
        abar, bbar = self._bars(t)
        total = abar * variances + bbar
        mean = means + abar**0.5 * variances / total * (x_t[..., None] - abar**0.5 * means)
        return self._log_joint(x_t, t).softmax(-1), mean, (variances * bbar / total).expand_as(mean)

    def mean_x0(self, x_t: Tensor, t: int) -> Tensor:
        """E[x_0 | x_t]."""
        share, mean, _ = self._components(x_t, t)
        return (share * mean).sum(-1)

    def cov_x0(self, x_t: Tensor, t: int) -> Tensor:
        """Cov[x_0 | x_t] per pixel: the components' own variance and the spread of their means."""
        share, mean, var = self._components(x_t, t)
        return (share * (var + (mean - (share * mean).sum(-1, keepdim=True)).square())).sum(-1)

    def eps_hat(self, x_t: Tensor, t: int) -> Tensor:
        """E[eps | x_t] = (x_t - sqrt(abar) E[x_0 | x_t]) / sqrt(bbar)."""
        abar, bbar = self._bars(t)
        return (x_t - abar**0.5 * self.mean_x0(x_t, t)) / bbar**0.5

    def var_eps(self, x_t: Tensor, t: int) -> Tensor:
        """Var[eps | x_t] = abar / bbar Cov[x_0 | x_t]."""
        abar, bbar = self._bars(t)
        return abar / bbar * self.cov_x0(x_t, t)

    def sample(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """x_0 of any shape."""
        weights, means, variances = self._numbers()
        count = int(torch.tensor(shape).prod())
        component = torch.multinomial(weights, count, replacement=True, generator=generator).reshape(shape)
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        return means[component] + variances[component].sqrt() * noise
