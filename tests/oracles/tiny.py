"""A small U-Net with weights everywhere, its images, and covariances of every kind: real objects without training."""

from __future__ import annotations

import torch
from torch import Tensor

from diffcov.covariance import registry
from diffcov.covariance.base import Covariance, Fitted
from diffcov.covariance.table import VarianceTable
from diffcov.data import DataDescription
from diffcov.mean_model import MeanModel, TimeConvention
from diffcov.models.head import HeadSpec
from diffcov.models.unet import UNet, UNetConfig
from diffcov.schedule import NoiseSchedule
from oracles.trunks import CountingTrunk

DATA = DataDescription(1, 8, 8, levels=17)


def tiny_model(T: int) -> MeanModel:
    """Cosine schedule of T steps; the trunk counts its calls."""
    torch.manual_seed(0)
    trunk = UNet(UNetConfig(1, 8, 8, channels=8, multipliers=(1,), blocks=1, attention=(), heads=1, dropout=0.0))
    with torch.no_grad():
        for parameter in trunk.parameters():
            parameter.normal_(0, 0.3)
    return MeanModel(CountingTrunk(trunk), NoiseSchedule.cosine(T), DATA, TimeConvention(1.0, 1000 / T)).freeze()


def tiny_images(count: int) -> Tensor:
    """(count, 1, 8, 8) uint8 in 0..16, both ends present."""
    draw = torch.Generator().manual_seed(1)
    images = torch.randint(0, 17, (count, *DATA.shape), generator=draw, dtype=torch.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = 0, 16
    return images


def tiny_covariance(name: str, model: MeanModel) -> Covariance:
    """Of the registry; a made-up table that changes with t, heads of random weights (partly below 0)."""
    T = model.schedule.T
    norm, error = torch.linspace(0.3, 0.98, T + 1).double(), torch.linspace(0.8, 0.05, T + 1).double()
    table = VarianceTable(torch.ones(T + 1, dtype=torch.float64), norm, norm.square(), error, error.square())
    heads = {}
    for kind in registry.heads():
        torch.manual_seed(10)
        head = HeadSpec(kind, "simple", model.feature_channels, model.embedding_width, 1).build()
        with torch.no_grad():
            for parameter in head.parameters():
                parameter.normal_(0.05, 0.3)
        heads[kind] = head.eval().requires_grad_(False)
    return registry.load(name).build(Fitted(table, heads))
