"""``analytic``: the best scalar if the mean were perfect, from the norm of the predicted noise (Analytic-DPM)."""

from __future__ import annotations

import torch
from torch import Tensor

from diffcov.covariance.base import TableCovariance
from diffcov.denoiser.prediction import Prediction
from diffcov.diffusion.schedule import NoiseSchedule


class Analytic(TableCovariance):
    """E over x_t and pixels of Var[eps | x_t] = E[eps^2] - E[eps_hat^2] = 1 - Gamma_t."""

    name = "analytic"
    summary = "best scalar for a perfect mean, closed form (Analytic-DPM)"
    formula = "r (1 - Gamma_t), Gamma_t = E||eps_hat||^2 / d"
    reference = "arXiv 2201.06503, theorem 1 and equation 8"

    def var_x0(self, schedule: NoiseSchedule, t: int, prediction: Prediction) -> Tensor:
        """r (1 - Gamma_t), one float64 number; negative where Gamma_t > 1, which the clip then mends."""
        Gamma_t = self.table.value(self.table.eps_hat_moments, t)
        return torch.tensor(float(schedule.ratio[t]) * (1 - Gamma_t), dtype=torch.float64)

    def upper_bound(self, schedule: NoiseSchedule, t: int, var_bound: float) -> float:
        """min(r, ((high - low) / 2)^2). Source: arXiv 2201.06503, theorem 2."""
        return min(float(schedule.ratio[t]), var_bound)
