"""A small U-Net with attention and weights everywhere: its Jacobian is dense and far from symmetric."""

from __future__ import annotations

import torch

from diffcov.data import DataDescription
from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.time import TimeConvention
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.nets.unet import UNet, UNetConfig
from oracles.trunks import counted


def attentive_model(
    shape: tuple[int, int, int], autocast: torch.dtype | None = None, dropout: float = 0.0, T: int = 50
) -> MeanModel:
    """Linear schedule of T steps; attention at every level and in the middle; the network counts its calls."""
    torch.manual_seed(0)
    levels = (1, 2) if shape[1] > 2 else (1,)
    sides = tuple(shape[1] >> i for i in range(len(levels)))
    trunk = UNet(
        UNetConfig(*shape, channels=8, multipliers=levels, blocks=1, attention=sides, heads=2, dropout=dropout)
    )
    with torch.no_grad():
        for parameter in trunk.parameters():
            parameter.normal_(0, 0.2)
    data = DataDescription(*shape, levels=17)
    reading = Reading(NoiseSchedule.linear(T), data, TimeConvention.spanning_thousand(T))
    return counted(trunk, reading, autocast=autocast).freeze()
