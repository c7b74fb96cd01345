"""Sweeps of the network over the data: the variance table at every time, spectrum and matrices at knots."""

from diffcov.estimation.residuals import Residuals, estimate_residuals
from diffcov.estimation.scalar import estimate

__all__ = ["Residuals", "estimate", "estimate_residuals"]
