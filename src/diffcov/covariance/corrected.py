"""``corrected``: the best scalar at the mean that was learned, from the error of the predicted noise."""

from __future__ import annotations

import torch

from diffcov.basis import PIXEL
from diffcov.covariance.base import Covariance
from diffcov.covariance.form import Form
from diffcov.covariance.ingredients import Ingredients
from diffcov.denoiser.look import Look
from diffcov.gaussian import Diagonal
from diffcov.statistics.table import VarianceTable


class Corrected(Covariance):
    """E[(eps - eps_hat)^2] = Var[eps | x_t] + bias^2: what maximises the likelihood when the mean is off."""

    name = "corrected"
    needs = (VarianceTable,)
    reads = ("error_sq",)
    summary = "best scalar at the learned mean, closed form"
    formula = "r E||eps - eps_hat||^2 / d"
    form = Form.BY_TIME
    reference = "arXiv 2206.07309 (imperfect mean), averaged over pixels"

    def __init__(self, ingredients: Ingredients) -> None:
        super().__init__(ingredients)
        self._error = self.ingredients[VarianceTable].error_moments

    def unbounded(self, look: Look) -> Diagonal:
        """r E||eps - eps_hat||^2 / d, one float64 number >= 0."""
        error = self.ingredients[VarianceTable].value(self._error, look.time)
        return Diagonal(PIXEL, torch.tensor(float(self.schedule.ratio[look.time]) * error, dtype=torch.float64))
