"""diffcov: the covariance of diffusion models.

The public names below are imported on first use, so that ``import diffcov`` alone loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffcov.covariance.base import Covariance as Covariance
    from diffcov.covariance.base import Fitted as Fitted
    from diffcov.covariance.table import VarianceTable as VarianceTable
    from diffcov.data import DataDescription as DataDescription
    from diffcov.eps_scale import fit_eps_scale as fit_eps_scale
    from diffcov.errors import DiffcovError as DiffcovError
    from diffcov.estimation import estimate as estimate
    from diffcov.io.checkpoint import load_mean as load_mean
    from diffcov.io.datasets import load_images as load_images
    from diffcov.io.fitted import load_covariance as load_covariance
    from diffcov.io.run import Run as Run
    from diffcov.mean_model import MeanModel as MeanModel
    from diffcov.mean_model import TimeConvention as TimeConvention
    from diffcov.process import DDIM as DDIM
    from diffcov.process import DDPM as DDPM
    from diffcov.process import Step as Step
    from diffcov.sampling import Sampler as Sampler
    from diffcov.sampling import generate as generate
    from diffcov.sampling import sample as sample
    from diffcov.schedule import NoiseSchedule as NoiseSchedule
    from diffcov.trajectory import even as even

__version__ = "0.1.0"

_HOME = {
    "Covariance": "covariance.base",
    "DDIM": "process",
    "DDPM": "process",
    "DataDescription": "data",
    "DiffcovError": "errors",
    "Fitted": "covariance.base",
    "MeanModel": "mean_model",
    "NoiseSchedule": "schedule",
    "Run": "io.run",
    "Sampler": "sampling",
    "Step": "process",
    "TimeConvention": "mean_model",
    "VarianceTable": "covariance.table",
    "estimate": "estimation",
    "even": "trajectory",
    "fit_eps_scale": "eps_scale",
    "generate": "sampling",
    "load_covariance": "io.fitted",
    "load_images": "io.datasets",
    "load_mean": "io.checkpoint",
    "sample": "sampling",
}
"""Public name -> the module of this package it lives in."""


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'diffcov' has no attribute {name!r}")
    return getattr(import_module(f"diffcov.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*_HOME, "__version__"])
