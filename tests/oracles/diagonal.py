"""A Gaussian world whose covariance is diagonal in any orthonormal basis, and covariances that are simply told.

x_0 ~ N(0, U^T diag(var) U). In a world like this p(x_s | x_t) of the exact mean and covariance *is* q(x_s | x_t), so
the expected transition terms are mutual informations I(x_s; x_0) - I(x_t; x_0), their sum telescopes, and for every
trajectory

    prior + transitions + h(x_0 | x_t1) = h(x_0) + KL(q(x_tK) || N(0, I)).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffcov.basis import PIXEL, Basis, Separable
from diffcov.covariance.base import Covariance
from diffcov.covariance.ingredients import Ingredients
from diffcov.data import DataDescription
from diffcov.denoiser.look import Look
from diffcov.denoiser.noised import Noised
from diffcov.diffusion.level import q_sample
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.gaussian import Diagonal
from diffcov.statistics.matrices import ResidualMatrices
from diffcov.statistics.spectrum import Spectrum
from diffcov.statistics.table import VarianceTable
from oracles.measured import told_look, told_matrices, told_spectrum


@dataclass(frozen=True, eq=False)
class DiagonalWorld:
    """``var`` is (C, H, W) float64 > 0, in the coefficients of ``basis``; everything float64."""

    schedule: NoiseSchedule
    var: Tensor
    basis: Basis = PIXEL

    def _bars(self, t: int) -> tuple[float, float]:
        return float(self.schedule.alpha_bar[t]), float(self.schedule.beta_bar[t])

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, C, H, W)."""
        z = torch.randn(count, *self.var.shape, generator=generator, dtype=torch.float64)
        return self.basis.inverse(self.var.sqrt() * z)

    def cov_x0(self, t: int) -> Tensor:
        """Cov[x_0 | x_t], diagonal in the basis: precisions add."""
        abar, bbar = self._bars(t)
        return 1 / (1 / self.var + abar / bbar)

    def eps_hat(self, x_t: Tensor, t: int) -> Tensor:
        """E[eps | x_t] = sqrt(bbar) U^T (U x_t / (abar var + bbar))."""
        abar, bbar = self._bars(t)
        return bbar**0.5 * self.basis.inverse(self.basis.forward(x_t) / (abar * self.var + bbar))

    def noised(self, x_0: Tensor, t: int, generator: torch.Generator, first: int = 0) -> Noised:
        """Images noised to t, and what the perfect network says of them, unclipped."""
        eps = torch.randn(x_0.shape, generator=generator, dtype=torch.float64)
        x_t = q_sample(self.schedule, x_0, t, eps)
        return Noised(self.schedule, x_0, eps, self.look(x_t, t), first)

    def look(self, x_t: Tensor, t: int) -> Look:
        """What the perfect network says of x_t, unclipped."""
        return told_look(self.schedule, x_t, t, self.eps_hat(x_t, t))

    def entropy(self) -> float:
        """h(x_0), nats an image."""
        return float(0.5 * (2 * math.pi * math.e * self.var).log().sum())

    def entropy_given(self, t: int) -> float:
        """h(x_0 | x_t), nats an image."""
        return float(0.5 * (2 * math.pi * math.e * self.cov_x0(t)).log().sum())

    def far_end(self, t: int) -> float:
        """KL(q(x_t) || N(0, I)), nats an image."""
        abar, bbar = self._bars(t)
        marginal = abar * self.var + bbar
        return float(0.5 * (marginal - 1 - marginal.log()).sum())

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self.var.shape
        return channels, height, width

    @property
    def matrix(self) -> Tensor:
        """U (d, d), over flattened images."""
        eye = torch.eye(self.var.numel(), dtype=torch.float64).reshape(-1, *self.shape)
        return self.basis.forward(eye).flatten(1).T

    def var_eps(self, t: int) -> Tensor:
        """Var[eps | x_t] per coefficient of the basis, (C, H, W)."""
        abar, bbar = self._bars(t)
        return abar * self.var / (abar * self.var + bbar)

    def cov_eps(self, t: int) -> Tensor:
        """Cov[eps | x_t] between all pixels, (d, d)."""
        return self.matrix.T @ (self.var_eps(t).flatten()[:, None] * self.matrix)

    def table(self) -> VarianceTable:
        """The exact table, as if from one typical image."""
        error = torch.stack([torch.zeros(()).double(), *(self.var_eps(t).mean() for t in self._all_times())])
        norm = 1 - error  # E[eps_hat^2] + Var[eps | x_t] = 1
        return VarianceTable(torch.ones(self.schedule.T + 1).double(), norm, norm.square(), error, error.square())

    def spectrum(self, times: Sequence[int] | None = None, colour: Tensor | None = None) -> Spectrum:
        """The exact spectrum at ``times`` (all of them by default).

        Args:
            times: the knots.
            colour: rotation of the channels; that of the world's own cosines by default.
        """
        if colour is None and isinstance(self.basis, Separable):
            colour = self.basis.colour
        U = told_spectrum([1], lambda t: self.var, self.shape, colour).basis
        return told_spectrum(
            times or self._all_times(), lambda t: self.basis.power_in(U, self.var_eps(t)), self.shape, colour
        )

    def matrices(self, times: Sequence[int] | None = None) -> ResidualMatrices:
        """The exact matrices at ``times`` (all of them by default)."""
        return told_matrices(times or self._all_times(), self.cov_eps, self.shape)

    def _all_times(self) -> range:
        return range(1, self.schedule.T + 1)

    def known(self, scale: float = 1.0) -> Told:
        """The exact covariance in the exact basis, times ``scale``."""
        return Told(self.schedule, lambda t: scale * self.cov_x0(t), self.basis)


class Told(Covariance):
    """var_x0 as a function of t, in any basis, without a bound."""

    name = "told"
    summary = "what the test says"
    formula = "var_x0(t)"
    reference = "the tests"

    def __init__(
        self,
        schedule: NoiseSchedule,
        told: Callable[[int], Tensor],
        basis: Basis = PIXEL,
        data: DataDescription | None = None,
    ) -> None:
        super().__init__(Ingredients(schedule, data or DataDescription(1, 1, 1)))
        self.told = told
        self.basis = basis

    def unbounded(self, look: Look) -> Diagonal:
        return Diagonal(self.basis, self.told(look.time))

    def pixel_bound(self, t: int) -> float:
        return math.inf
