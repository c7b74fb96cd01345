"""``small``: pretend that x_0 is known exactly; the variance is lambda2 (beta_tilde for DDPM, 0 for DDIM)."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from diffcov.covariance.base import Covariance, Fitted
from diffcov.denoiser.prediction import Prediction
from diffcov.diffusion.schedule import NoiseSchedule


class Small(Covariance):
    """The lower end of the usual range."""

    name = "small"
    needs = frozenset()
    summary = "lambda2, as if x_0 were known (beta-tilde)"
    formula = "0"
    reference = "arXiv 2006.11239, section 3.2"

    @classmethod
    def build(cls, fitted: Fitted) -> Self:
        return cls()

    def var_x0(self, schedule: NoiseSchedule, t: int, prediction: Prediction) -> Tensor:
        """0."""
        return torch.zeros((), dtype=torch.float64)
