"""A small U-Net with weights everywhere, its images, and covariances of every kind: real objects without training."""

from __future__ import annotations

import torch
from torch import Tensor

from diffcov.covariance import registry
from diffcov.covariance.base import Covariance
from diffcov.covariance.ingredients import FittedHead, Ingredients
from diffcov.data import DataDescription, Examples
from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.time import TimeConvention
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.training.head_fit import HeadPlan, head_covariance
from diffcov.nets.unet import UNet, UNetConfig
from diffcov.statistics.knots import Knots
from diffcov.statistics.matrices import ResidualMatrices
from diffcov.statistics.spectrum import Spectrum
from diffcov.statistics.table import VarianceTable
from oracles.trunks import counted

DATA = DataDescription(1, 8, 8, levels=17)


def tiny_model(T: int) -> MeanModel:
    """Cosine schedule of T steps; the network counts its calls, and its second half says places in a range."""
    torch.manual_seed(0)
    trunk = UNet(
        UNetConfig(
            1, 8, 8, channels=8, multipliers=(1,), blocks=1, attention=(), heads=1, dropout=0.0, learned_range=True
        )
    )
    with torch.no_grad():
        for parameter in trunk.parameters():
            parameter.normal_(0, 0.3)
    time = TimeConvention.spanning_thousand(T)
    return counted(trunk, Reading(NoiseSchedule.cosine(T), DATA, time, learned_range=True)).freeze()


def tiny_images(count: int) -> Tensor:
    """(count, 1, 8, 8) uint8 in 0..16, both ends present."""
    draw = torch.Generator().manual_seed(1)
    images = torch.randint(0, 17, (count, *DATA.shape), generator=draw, dtype=torch.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = 0, 16
    return images


def tiny_examples(count: int) -> Examples:
    """:func:`tiny_images` without labels."""
    return Examples(tiny_images(count))


def tiny_covariance(name: str, model: MeanModel) -> Covariance:
    """Of the registry, from :func:`tiny_ingredients`."""
    return registry.load(name)(tiny_ingredients(name, model))


def tiny_statistics(model: MeanModel) -> Ingredients:
    """A made-up table, spectrum and matrices that change with t."""
    T = model.schedule.T
    norm, error = torch.linspace(0.3, 0.98, T + 1).double(), torch.linspace(0.8, 0.05, T + 1).double()
    table = VarianceTable(torch.ones(T + 1, dtype=torch.float64), norm, norm.square(), error, error.square())
    return Ingredients.of(model.schedule, model.data, table, *_residuals(Knots((1, T // 4, T // 2, T))))


def tiny_ingredients(name: str, model: MeanModel) -> Ingredients:
    """:func:`tiny_statistics`, and a head of random weights for a covariance that reads one.

    Heads that can be fitted by squared error are partly below 0 (:func:`takes_both_signs`).
    """
    statistics = tiny_statistics(model)
    if name not in registry.heads():
        return statistics
    torch.manual_seed(10)
    both = takes_both_signs(name)
    plan = HeadPlan.of(name, "squared" if both else None, "simple")
    T = model.schedule.T
    head = plan.spec(model).build(torch.linspace(-0.2, 0.2, T + 1) if both else plan.start(statistics))
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_(0.05, 0.3)
    fitted = FittedHead(head.eval().requires_grad_(False))
    return Ingredients.of(model.schedule, model.data, *statistics.parts.values(), fitted)


def takes_both_signs(name: str) -> bool:
    """Whether the tiny covariance's var_x0 is below 0 in places: of a head moved by addition, or a random range."""
    if registry.COVARIANCES[name].reads_range:
        return True
    return name in registry.heads() and "squared" in head_covariance(name).losses


def _residuals(knots: Knots) -> tuple[Spectrum, ResidualMatrices]:
    """Of coefficients that fall with frequency and lean on one another, and the more the later it is."""
    draw = torch.Generator().manual_seed(4)
    colour = torch.eye(DATA.channels, dtype=torch.float64)
    spectrum, matrices = Spectrum.empty(knots, DATA.shape, colour), ResidualMatrices.empty(knots, DATA.shape, colour)
    u = torch.arange(8, dtype=torch.float64)
    falling = (1 + u[:, None] + u) ** -0.5
    mixing = torch.randn(DATA.dims, DATA.dims, generator=draw, dtype=torch.float64) / DATA.dims**0.5
    for knot in range(len(knots.times)):
        own = torch.randn(100, DATA.dims, generator=draw, dtype=torch.float64)
        c = (own + own @ mixing * knot / 3).reshape(-1, *DATA.shape) * falling * (0.9 - 0.2 * knot)
        spectrum.add(knot, c.square())
        matrices.add(knot, c)
    return spectrum, matrices
