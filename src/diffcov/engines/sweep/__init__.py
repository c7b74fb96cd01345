"""Sweeps of the network over the data: the variance table at every time, spectrum and matrices at knots."""

from diffcov.engines.sweep.residuals import Residuals, estimate_residuals
from diffcov.engines.sweep.scalar import estimate

__all__ = ["Residuals", "estimate", "estimate_residuals"]
