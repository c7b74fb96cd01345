"""What integrators share that know how fast eps_hat fades along the flow: exact in one look where they know it exactly.

With y = x / sqrt(abar), sigma = sqrt(bbar / abar) and a basis U in which the error of eps_hat is uncorrelated, with
variances v_k(sigma), d ln eps_hat_k / d ln sigma = v_k along the probability flow of Gaussian data. So
z_k(sigma) = eps_hat_k(sigma) exp(int_sigma^{sigma_t} v_k d ln sigma') stands still over a step, and

    y_s = y_t - U^T [W_k U eps_hat],   W_k = int_{sigma_s}^{sigma_t} exp(- int_sigma^{sigma_t} v_k d ln sigma') d sigma

is exact in one look. Order 2 extrapolates z_k straight in ln sigma. DDIM is v = 0.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from diffcov.basis.base import Basis
from diffcov.denoiser.look import Look
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.diffusion.step import Step
from diffcov.solver.multistep import Multistep, MultistepWalk, Seen
from diffcov.transfer import sent

__all__ = ["ExponentialIntegrator", "Kernel", "Rates"]

KERNELS = 64
"""Steps whose integrals are kept: of a longer walk the oldest are made again."""


class Rates(NamedTuple):
    """How fast eps_hat fades at n times.

    Attributes:
        basis: U, one for all of them.
        v: (n, C, H, W) float64, d ln eps_hat_k / d ln sigma; or (n, C, h, w), of cells of coefficients.
    """

    basis: Basis
    v: Tensor


class Kernel(NamedTuple):
    """Integrals over one step from t, (C, H, W) float64 each, in units of sigma_t.

    Attributes:
        basis: U.
        mass: W / sigma_t.
        slope: the same integral of ln(sigma / sigma_t), <= 0.
        faded: what is left of eps_hat at the end, exp(- int v d ln sigma), which has no unit.
    """

    basis: Basis
    mass: Tensor
    slope: Tensor
    faded: Tensor


@dataclass(frozen=True)
class ExponentialIntegrator(Multistep):
    """DDIM whose eps_hat fades over the step as the subclass says, coefficient by coefficient.

    The first step from alpha_bar 0, where sigma is infinite, is DDIM's.
    """

    through: str = "eps_hat"
    _kernels: dict[tuple[NoiseSchedule, int, int], Kernel] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )

    eta = 0.0
    orders: ClassVar[tuple[int, ...]] = (1, 2)

    def walk(self, steps: Sequence[Step]) -> MultistepWalk:
        """A walk that has seen nothing.

        Raises:
            InputError: it was not given what it needs.
        """
        self.check_given()
        return super().walk(steps)

    @abstractmethod
    def rates(self, schedule: NoiseSchedule, times: Tensor) -> Rates:
        """How fast eps_hat fades over one step.

        Args:
            schedule: the noise schedule.
            times: (n,) int64, every trained time of the step, from t down to s.
        """

    def spread(self, in_cells: Tensor) -> Tensor:
        """Values of what :meth:`rates` told, (.., h, w), given to every coefficient, (.., H, W)."""
        return in_cells

    def plain(self, step: Step, look: Look) -> Tensor:
        """DDIM's mean, and what eps_hat loses over the step."""
        mean = super().plain(step, look)
        if step.s == 0 or step.schedule.alpha_bar[step.t] == 0:
            return mean
        kernel = self._kernel(step.schedule, step.s, step.t)
        whole = -math.expm1((float(step.schedule.log_snr[step.t]) - float(step.schedule.log_snr[step.s])) / 2)
        return mean + _filtered(kernel.basis, _unit(step) * (whole - kernel.mass), look.eps_hat)

    def trend(self, step: Step, seen: Sequence[Seen]) -> Tensor:
        """The slope of z in ln sigma through two looks, integrated, in units of x_0."""
        newer, older = seen[0], seen[1]
        gap = float(step.schedule.log_snr[newer.t] - step.schedule.log_snr[older.t]) / 2  # ln sigma_u - ln sigma_t
        if not math.isfinite(gap):
            return torch.zeros_like(newer.x0_hat)
        before, now = (self._kernel(step.schedule, s, t) for s, t in ((newer.t, older.t), (step.s, step.t)))
        expected = _filtered(before.basis, before.faded, older.eps_hat)
        return _filtered(now.basis, _unit(step) / (gap * step.gamma) * now.slope, newer.eps_hat - expected)

    def _kernel(self, schedule: NoiseSchedule, s: int, t: int) -> Kernel:
        key = schedule, s, t
        if key not in self._kernels:
            while len(self._kernels) >= KERNELS:
                self._kernels.pop(next(iter(self._kernels)))
            self._kernels[key] = self._integrated(schedule, s, t)
        return self._kernels[key]

    def _integrated(self, schedule: NoiseSchedule, s: int, t: int) -> Kernel:
        """Over the trained times between s and t, v being constant between neighbours, where each piece is closed."""
        times = torch.arange(t, s - 1, -1)
        ln_sigma, (basis, v) = schedule.log_snr[times] / -2, self.rates(schedule, times)
        width = -ln_sigma.diff()[:, None, None, None]  # from one time to the next lower one, > 0
        rate = (v[1:] + v[:-1]) / 2
        lost = rate * width
        faded = torch.cat([torch.zeros_like(v[:1]), lost.cumsum(0)])[:-1]
        high = (ln_sigma[:-1] - ln_sigma[0])[:, None, None, None]
        start = (high - faded).exp()  # sigma / sigma_t times what has faded until there
        grown = 1 + rate
        mass = -torch.expm1(-grown * width) / grown
        first = (1 - (1 + grown * width) * (-grown * width).exp()) / grown**2  # of the distance in ln sigma
        in_cells = ((start * mass).sum(0), (start * (high * mass - first)).sum(0), (-lost.sum(0)).exp())
        return Kernel(basis, *(self.spread(one) for one in in_cells))


def _unit(step: Step) -> float:
    """sqrt(abar_s) sigma_t: what a kernel is in units of x_s."""
    return math.sqrt(step.alpha_bar_s * float(step.schedule.ratio[step.t]))


def _filtered(basis: Basis, factor: Tensor, eps_hat: Tensor) -> Tensor:
    """U^T factor U eps_hat."""
    return basis.inverse(sent(factor.to(eps_hat.dtype), eps_hat.device) * basis.forward(eps_hat))
