"""``full``: every covariance between two pixels, shrunk to the spectrum; for small images."""

from __future__ import annotations

from diffcov.covariance.base import Covariance
from diffcov.denoiser.look import Look
from diffcov.gaussian import Diagonal
from diffcov.statistics.matrices import ResidualMatrices
from diffcov.transfer import sent


class Full(Covariance):
    """E[(eps - eps_hat)(eps - eps_hat)^T], diagonal in its own eigenvectors, which differ from time to time.

    eps_hat is that of the clipped mean.
    """

    name = "full"
    needs = (ResidualMatrices,)
    summary = "all pixels with all others, from matrices; images of up to 1024 values"
    formula = "r E[(eps - eps_hat)(eps - eps_hat)^T], shrunk to its spectrum"
    reference = "arXiv 2206.07309 derives it and uses its diagonal; shrinkage: Schaefer and Strimmer 2005"

    def unbounded(self, look: Look) -> Diagonal:
        """r times the eigenvalues, (C, H, W) float64 >= 0, largest first."""
        basis, var_eps = self.ingredients[ResidualMatrices].diagonal(self.schedule, look.time)
        return Diagonal(basis, float(self.schedule.ratio[look.time]) * sent(var_eps, look.x_t.device))
