"""``corrected``: the best scalar at the mean that was learned, from the error of the predicted noise."""

from __future__ import annotations

import torch
from torch import Tensor

from diffcov.covariance.base import TableCovariance
from diffcov.denoiser.prediction import Prediction
from diffcov.diffusion.schedule import NoiseSchedule


class Corrected(TableCovariance):
    """E[(eps - eps_hat)^2] = Var[eps | x_t] + bias^2: what maximises the likelihood when the mean is off."""

    name = "corrected"
    summary = "best scalar at the learned mean, closed form"
    formula = "r E||eps - eps_hat||^2 / d"
    reference = "arXiv 2206.07309 (imperfect mean), averaged over pixels"

    def var_x0(self, schedule: NoiseSchedule, t: int, prediction: Prediction) -> Tensor:
        """r E||eps - eps_hat||^2 / d, one float64 number >= 0."""
        error = self.table.value(self.table.error_moments, t)
        return torch.tensor(float(schedule.ratio[t]) * error, dtype=torch.float64)
