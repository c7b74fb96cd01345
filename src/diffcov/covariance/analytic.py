"""``analytic``: the best scalar if the mean were perfect, from the norm of the predicted noise (Analytic-DPM)."""

from __future__ import annotations

import torch

from diffcov.basis import PIXEL
from diffcov.covariance.base import Covariance
from diffcov.covariance.form import Form
from diffcov.denoiser.look import Look
from diffcov.gaussian import Diagonal
from diffcov.statistics.table import VarianceTable


class Analytic(Covariance):
    """E over x_t and pixels of Var[eps | x_t] = E[eps^2] - E[eps_hat^2] = 1 - Gamma_t."""

    name = "analytic"
    needs = (VarianceTable,)
    needs_signal = True
    summary = "best scalar for a perfect mean, closed form (Analytic-DPM)"
    formula = "r (1 - Gamma_t), Gamma_t = E||eps_hat||^2 / d"
    form = Form.BY_TIME
    reference = "arXiv 2201.06503, theorem 1 and equation 8"

    def unbounded(self, look: Look) -> Diagonal:
        """r (1 - Gamma_t), one float64 number; negative where Gamma_t > 1, which the clip then mends."""
        t, table = look.time, self.ingredients[VarianceTable]
        Gamma_t = table.value(table.eps_hat_moments, t)
        return Diagonal(PIXEL, torch.tensor(float(self.schedule.ratio[t]) * (1 - Gamma_t), dtype=torch.float64))

    def pixel_bound(self, t: int) -> float:
        """min(r, ((high - low) / 2)^2). Source: arXiv 2201.06503, theorem 2."""
        return min(float(self.schedule.ratio[t]), self.data.var_bound)
