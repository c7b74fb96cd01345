"""diffcov: the covariance of diffusion models.

Three nouns carry it. A :class:`Run` is a folder with a mean model and what was measured of it; a :class:`Denoiser` is
anything that looks at x_t and says x_0 and eps, such as a :class:`MeanModel` around a network of yours; a
:class:`Sampler` is a denoiser, a covariance, a solver and a grid of times, and draws images.

The public names below are imported on first use, so that ``import diffcov`` alone loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from diffcov.version import __version__ as __version__

if TYPE_CHECKING:
    from diffcov.covariance.base import Covariance as Covariance
    from diffcov.covariance.ingredients import FittedHead as FittedHead
    from diffcov.covariance.registry import make_covariance as make_covariance
    from diffcov.data import DataDescription as DataDescription
    from diffcov.data import Examples as Examples
    from diffcov.denoiser.base import Denoiser as Denoiser
    from diffcov.denoiser.base import View as View
    from diffcov.denoiser.look import Look as Look
    from diffcov.denoiser.mean_model import MeanModel as MeanModel
    from diffcov.denoiser.noised import Noised as Noised
    from diffcov.denoiser.through import through as through
    from diffcov.denoiser.time import TimeConvention as TimeConvention
    from diffcov.diffusion.grid import Grid as Grid
    from diffcov.diffusion.grid import explicit as explicit
    from diffcov.diffusion.grids import even as even
    from diffcov.diffusion.grids import make_grid as make_grid
    from diffcov.diffusion.grids import quad as quad
    from diffcov.diffusion.grids import stride as stride
    from diffcov.diffusion.schedule import NoiseSchedule as NoiseSchedule
    from diffcov.diffusion.step import Step as Step
    from diffcov.engines.classes import Classes as Classes
    from diffcov.engines.forward import look_along as look_along
    from diffcov.engines.forward import measure as measure
    from diffcov.engines.meters.calibration import CalibrationMeter as CalibrationMeter
    from diffcov.engines.meters.likelihood import Likelihood as Likelihood
    from diffcov.engines.meters.likelihood import LikelihoodMeter as LikelihoodMeter
    from diffcov.engines.ode_likelihood import FlowLikelihood as FlowLikelihood
    from diffcov.engines.ode_likelihood import flow_likelihood as flow_likelihood
    from diffcov.engines.recipe import Recipe as Recipe
    from diffcov.engines.sampler import Sampler as Sampler
    from diffcov.engines.sampling import draw as draw
    from diffcov.engines.sampling import generate as generate
    from diffcov.engines.sampling import sample as sample
    from diffcov.engines.sweep import estimate as estimate
    from diffcov.errors import DiffcovError as DiffcovError
    from diffcov.gaussian.diagonal import Diagonal as Diagonal
    from diffcov.nets.features import Features as Features
    from diffcov.noise import GivenNoise as GivenNoise
    from diffcov.noise import ImageNoise as ImageNoise
    from diffcov.noise import Noise as Noise
    from diffcov.processes.joined import joined as joined
    from diffcov.solver.base import Solver as Solver
    from diffcov.solver.registry import make_solver as make_solver
    from diffcov.statistics.base import Statistic as Statistic
    from diffcov.statistics.matrices import ResidualMatrices as ResidualMatrices
    from diffcov.statistics.spectrum import Spectrum as Spectrum
    from diffcov.statistics.table import VarianceTable as VarianceTable
    from diffcov.store.datasets import load_images as load_images
    from diffcov.study.likelihood import likelihood as likelihood
    from diffcov.study.listener import Listener as Listener
    from diffcov.study.loading import load as load
    from diffcov.study.run import Run as Run

_HOME = {
    "CalibrationMeter": "engines.meters.calibration",
    "Classes": "engines.classes",
    "Covariance": "covariance.base",
    "DataDescription": "data",
    "Denoiser": "denoiser.base",
    "Diagonal": "gaussian.diagonal",
    "DiffcovError": "errors",
    "Examples": "data",
    "Features": "nets.features",
    "FittedHead": "covariance.ingredients",
    "FlowLikelihood": "engines.ode_likelihood",
    "GivenNoise": "noise",
    "Grid": "diffusion.grid",
    "ImageNoise": "noise",
    "Likelihood": "engines.meters.likelihood",
    "LikelihoodMeter": "engines.meters.likelihood",
    "Listener": "study.listener",
    "Look": "denoiser.look",
    "MeanModel": "denoiser.mean_model",
    "Noise": "noise",
    "NoiseSchedule": "diffusion.schedule",
    "Noised": "denoiser.noised",
    "Recipe": "engines.recipe",
    "ResidualMatrices": "statistics.matrices",
    "Run": "study.run",
    "Sampler": "engines.sampler",
    "Solver": "solver.base",
    "Spectrum": "statistics.spectrum",
    "Statistic": "statistics.base",
    "Step": "diffusion.step",
    "TimeConvention": "denoiser.time",
    "VarianceTable": "statistics.table",
    "View": "denoiser.base",
    "draw": "engines.sampling",
    "estimate": "engines.sweep",
    "even": "diffusion.grids",
    "explicit": "diffusion.grid",
    "flow_likelihood": "engines.ode_likelihood",
    "generate": "engines.sampling",
    "joined": "processes.joined",
    "likelihood": "study.likelihood",
    "load": "study.loading",
    "load_images": "store.datasets",
    "look_along": "engines.forward",
    "make_covariance": "covariance.registry",
    "make_grid": "diffusion.grids",
    "make_solver": "solver.registry",
    "measure": "engines.forward",
    "quad": "diffusion.grids",
    "sample": "engines.sampling",
    "stride": "diffusion.grids",
    "through": "denoiser.through",
}
"""Public name -> the module of this package it lives in."""


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'diffcov' has no attribute {name!r}")
    return getattr(import_module(f"diffcov.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*_HOME, "__version__"])
