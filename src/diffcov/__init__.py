"""diffcov: the covariance of diffusion models.

The public names below are imported on first use, so that ``import diffcov`` alone loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffcov.covariance.base import Covariance as Covariance
    from diffcov.covariance.base import Fitted as Fitted
    from diffcov.data import DataDescription as DataDescription
    from diffcov.denoiser.network import MeanModel as MeanModel
    from diffcov.denoiser.network import TimeConvention as TimeConvention
    from diffcov.diffusion.grid import even as even
    from diffcov.diffusion.process import DDIM as DDIM
    from diffcov.diffusion.process import DDPM as DDPM
    from diffcov.diffusion.process import Step as Step
    from diffcov.diffusion.schedule import NoiseSchedule as NoiseSchedule
    from diffcov.engines.sampling import Sampler as Sampler
    from diffcov.engines.sampling import generate as generate
    from diffcov.engines.sampling import sample as sample
    from diffcov.engines.sweep import estimate as estimate
    from diffcov.errors import DiffcovError as DiffcovError
    from diffcov.statistics.table import VarianceTable as VarianceTable
    from diffcov.store.checkpoint import load_mean as load_mean
    from diffcov.store.datasets import load_images as load_images
    from diffcov.store.run import Run as Run
    from diffcov.study.fitted import load_covariance as load_covariance
    from diffcov.study.scale import fit_eps_scale as fit_eps_scale

__version__ = "0.1.0"

_HOME = {
    "Covariance": "covariance.base",
    "DDIM": "diffusion.process",
    "DDPM": "diffusion.process",
    "DataDescription": "data",
    "DiffcovError": "errors",
    "Fitted": "covariance.base",
    "MeanModel": "denoiser.network",
    "NoiseSchedule": "diffusion.schedule",
    "Run": "store.run",
    "Sampler": "engines.sampling",
    "Step": "diffusion.process",
    "TimeConvention": "denoiser.network",
    "VarianceTable": "statistics.table",
    "estimate": "engines.sweep",
    "even": "diffusion.grid",
    "fit_eps_scale": "study.scale",
    "generate": "engines.sampling",
    "load_covariance": "study.fitted",
    "load_images": "store.datasets",
    "load_mean": "store.checkpoint",
    "sample": "engines.sampling",
}
"""Public name -> the module of this package it lives in."""


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'diffcov' has no attribute {name!r}")
    return getattr(import_module(f"diffcov.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*_HOME, "__version__"])
