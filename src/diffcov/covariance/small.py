"""``small``: pretend that x_0 is known exactly; the variance is lambda2 (beta_tilde for DDPM, 0 for DDIM)."""

from __future__ import annotations

import torch

from diffcov.basis import PIXEL
from diffcov.covariance.base import Covariance
from diffcov.covariance.form import Form
from diffcov.denoiser.look import Look
from diffcov.gaussian import Diagonal


class Small(Covariance):
    """The lower end of the usual range."""

    name = "small"
    summary = "lambda2, as if x_0 were known (beta-tilde)"
    formula = "0"
    form = Form.BY_TIME
    reference = "arXiv 2006.11239, section 3.2"

    def unbounded(self, look: Look) -> Diagonal:
        """0."""
        return Diagonal(PIXEL, torch.zeros((), dtype=torch.float64))
