"""``spectral-ei``: the spectrum as a solver, an exponential integrator per frequency and colour; order 1 and 2.

With y = x / sqrt(abar), sigma = sqrt(bbar / abar) and v_k(sigma) the spectrum, d ln eps_hat_k / d ln sigma = v_k along
the probability flow of Gaussian data. So z_k(sigma) = eps_hat_k(sigma) exp(int_sigma^{sigma_t} v_k d ln sigma') stands
still over a step, and

    y_s = y_t - U^T [W_k U eps_hat],   W_k = int_{sigma_s}^{sigma_t} exp(- int_sigma^{sigma_t} v_k d ln sigma') d sigma

is exact in one look. Order 2 extrapolates z_k straight in ln sigma. DDIM is v = 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from diffcov.basis.base import Basis
from diffcov.denoiser.look import Look
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.diffusion.step import Step
from diffcov.errors import InputError
from diffcov.solver.multistep import Multistep, MultistepWalk, Seen

__all__ = ["SpectralEI"]


class ErrorSpectrum(Protocol):
    """What it has to know: E[(U (eps - eps_hat))^2] by cell of frequencies, at each time."""

    file: str
    digest: str
    basis: Basis

    def var_eps_in_cells(self, schedule: NoiseSchedule, t: Tensor) -> Tensor:
        """(B, C, h, w) float64 at times (B,)."""

    def spread(self, in_cells: Tensor) -> Tensor:
        """Values of cells (.., h, w) given to every coefficient, (.., H, W)."""


class Kernel(NamedTuple):
    """Integrals over one step from t, (C, H, W) float64 each, in units of sigma_t.

    Attributes:
        mass: W / sigma_t.
        slope: the same integral of ln(sigma / sigma_t), <= 0.
        faded: what is left of eps_hat at the end, exp(- int v d ln sigma), which has no unit.
    """

    mass: Tensor
    slope: Tensor
    faded: Tensor


@dataclass(frozen=True)
class SpectralEI(Multistep):
    """DDIM whose eps_hat fades over the step as the spectrum says, frequency by frequency.

    The first step from alpha_bar 0, where sigma is infinite, is DDIM's.

    Args:
        spectrum: what was measured of the mean; see :meth:`given`.
    """

    through: str = "eps_hat"
    spectrum: ErrorSpectrum | None = field(default=None, compare=False, repr=False)
    _kernels: dict[tuple[int, int], Kernel] = field(default_factory=dict, init=False, compare=False, repr=False)

    name = "spectral-ei"
    summary = "exponential integrator from the spectrum, per frequency and colour"
    reference = "diffcov; empirical model statistics of arXiv 2310.13268 in cosines"
    needs = ("spectrum",)
    eta = 0.0
    orders: ClassVar[tuple[int, ...]] = (1, 2)

    def walk(self, steps: Sequence[Step]) -> MultistepWalk:
        """A walk that has seen nothing.

        Raises:
            InputError: it was given no spectrum.
        """
        if self.spectrum is None:
            raise InputError("spectral-ei needs a spectrum and was given none; use Solver.given")
        return super().walk(steps)

    def plain(self, step: Step, look: Look) -> Tensor:
        """DDIM's mean, and what eps_hat loses over the step."""
        mean = super().plain(step, look)
        if step.s == 0 or step.schedule.alpha_bar[step.t] == 0:
            return mean
        kept = self._kernel(step.schedule, step.s, step.t).mass
        whole = -math.expm1((float(step.schedule.log_snr[step.t]) - float(step.schedule.log_snr[step.s])) / 2)
        return mean + self._filtered(step, whole - kept, look.eps_hat)

    def trend(self, step: Step, seen: Sequence[Seen]) -> Tensor:
        """The slope of z in ln sigma through two looks, integrated, in units of x_0."""
        newer, older = seen[0], seen[1]
        gap = float(step.schedule.log_snr[newer.t] - step.schedule.log_snr[older.t]) / 2  # ln sigma_u - ln sigma_t
        if not math.isfinite(gap):
            return torch.zeros_like(newer.x0_hat)
        faded = self._kernel(step.schedule, newer.t, older.t).faded  # of the step before
        slope = self._kernel(step.schedule, step.s, step.t).slope
        older_faded = self._filtered(step, slope * faded / gap, older.eps_hat)
        return (self._filtered(step, slope / gap, newer.eps_hat) - older_faded) / step.gamma

    def _filtered(self, step: Step, factor: Tensor, eps_hat: Tensor) -> Tensor:
        """sqrt(abar_s) sigma_t U^T factor U eps_hat."""
        assert self.spectrum is not None
        basis = self.spectrum.basis
        unit = math.sqrt(step.alpha_bar_s * float(step.schedule.ratio[step.t]))
        return basis.inverse((unit * factor).to(eps_hat.device, eps_hat.dtype) * basis.forward(eps_hat))

    def _kernel(self, schedule: NoiseSchedule, s: int, t: int) -> Kernel:
        if (s, t) not in self._kernels:
            self._kernels[s, t] = self._integrated(schedule, s, t)
        return self._kernels[s, t]

    def _integrated(self, schedule: NoiseSchedule, s: int, t: int) -> Kernel:
        """Over the trained times between s and t, v being constant between neighbours, where each piece is closed."""
        assert self.spectrum is not None
        times = torch.arange(t, s - 1, -1)
        ln_sigma, v = schedule.log_snr[times] / -2, self.spectrum.var_eps_in_cells(schedule, times)
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
        return Kernel(*(self.spectrum.spread(one) for one in in_cells))
