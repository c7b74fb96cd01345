"""diffcov: the covariance of diffusion models. The public names are imported on first use, so this import is light."""

from __future__ import annotations

__version__ = "0.1.0"
