"""The Gaussian world: every pixel of the data is N(mean, var). All that a perfect model knows is closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffcov.covariance.ingredients import Ingredients
from diffcov.data import DataDescription
from diffcov.denoiser.look import Look
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.statistics.matrices import ResidualMatrices
from diffcov.statistics.spectrum import Spectrum
from diffcov.statistics.table import VarianceTable
from oracles.measured import told_look, told_matrices, told_spectrum


@dataclass(frozen=True)
class GaussianWorld:
    """x_0 ~ N(mean, var) per pixel; x_t ~ N(sqrt(abar_t) mean, abar_t var + bbar_t); everything float64."""

    schedule: NoiseSchedule
    mean: float
    var: float

    def _bars(self, t: int) -> tuple[float, float]:
        return float(self.schedule.alpha_bar[t]), float(self.schedule.beta_bar[t])

    def marginal_mean(self, t: int) -> float:
        """E[x_t]."""
        return self._bars(t)[0] ** 0.5 * self.mean

    def marginal_var(self, t: int) -> float:
        """Var[x_t]."""
        abar, bbar = self._bars(t)
        return abar * self.var + bbar

    def eps_hat(self, x_t: Tensor, t: int) -> Tensor:
        """E[eps | x_t] = Cov(eps, x_t) / Var[x_t] (x_t - E x_t)."""
        return self._bars(t)[1] ** 0.5 / self.marginal_var(t) * (x_t - self.marginal_mean(t))

    def gamma_t(self, t: int) -> float:
        """E[eps_hat^2] = bbar_t / Var[x_t]."""
        return self._bars(t)[1] / self.marginal_var(t)

    def var_eps(self, t: int) -> float:
        """Var[eps | x_t], the same for every x_t."""
        abar, _ = self._bars(t)
        return abar * self.var / self.marginal_var(t)

    def cov_x0(self, t: int) -> float:
        """Cov[x_0 | x_t]: precisions add, 1/var + abar_t/bbar_t."""
        abar, bbar = self._bars(t)
        return 1 / (1 / self.var + abar / bbar)

    def look(self, x_t: Tensor, t: int) -> Look:
        """What the perfect model sees, unclipped; no covariance without a head reads the features."""
        return told_look(self.schedule, x_t, t, self.eps_hat(x_t, t))

    def table(self) -> VarianceTable:
        """The exact variance table, as if from one image that is typical in every respect."""
        times = range(1, self.schedule.T + 1)
        count = torch.ones(self.schedule.T + 1, dtype=torch.float64)
        norm = torch.tensor([0.0, *(self.gamma_t(t) for t in times)], dtype=torch.float64)
        error = torch.tensor([0.0, *(self.var_eps(t) for t in times)], dtype=torch.float64)
        return VarianceTable(count, norm, norm.square(), error, error.square())

    def spectrum(self, shape: tuple[int, int, int], times: Sequence[int] | None = None) -> Spectrum:
        """The exact spectrum of images of this shape at ``times`` (all of them by default): all values are equal."""
        return told_spectrum(times or self._all_times(), lambda t: self._full(shape, self.var_eps(t)), shape)

    def matrices(self, shape: tuple[int, int, int], times: Sequence[int] | None = None) -> ResidualMatrices:
        """The exact matrices: independent pixels."""
        return told_matrices(
            times or self._all_times(), lambda t: self._full(shape, self.var_eps(t)).flatten().diag(), shape
        )

    def ingredients(self, data: DataDescription, times: Sequence[int] | None = None) -> Ingredients:
        """Table, spectrum and matrices (these at ``times``), all exact."""
        shape = data.shape
        return Ingredients.of(
            self.schedule, data, self.table(), self.spectrum(shape, times), self.matrices(shape, times)
        )

    def _all_times(self) -> range:
        return range(1, self.schedule.T + 1)

    @staticmethod
    def _full(shape: tuple[int, int, int], value: float) -> Tensor:
        return torch.full(shape, value, dtype=torch.float64)
