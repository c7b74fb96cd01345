"""Perfect networks: the closed forms of the worlds inside a MeanModel, and one that counts its calls."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diffcov.data import DataDescription
from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.time import TimeConvention
from diffcov.nets.features import Features
from oracles.gaussian import GaussianWorld
from oracles.mixture import MixtureWorld

OUR_TIMES = TimeConvention(offset=0.0, scale=1.0)


class PerfectTrunk(nn.Module):
    """eps_hat of a world, off by ``bias * x_t``; features: x_t and t / T, image sized."""

    feature_channels = 2
    embedding_width = 1

    def __init__(self, world: GaussianWorld | MixtureWorld, bias: float = 0.0) -> None:
        super().__init__()
        self.world = world
        self.bias = nn.Parameter(torch.tensor(bias))
        self.calls = 0

    def forward(self, x: Tensor, times: Tensor) -> tuple[Tensor, Features]:
        self.calls += 1
        exact = torch.empty_like(x)
        for t in times.unique().tolist():
            chosen = times == t
            exact[chosen] = self.world.eps_hat(x[chosen].double(), int(t)).to(x.dtype)
        share = (times / self.world.schedule.T)[:, None]
        features = torch.cat([x[:, :1], share[:, :, None, None].expand_as(x[:, :1])], dim=1)
        return exact + self.bias * x, Features(features, share)


class CountingTrunk(nn.Module):
    """Another network, and how often it was called and in which mode."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        self.feature_channels = trunk.feature_channels
        self.embedding_width = trunk.embedding_width
        self.batches: list[int] = []
        self.modes: list[bool] = []

    def forward(self, x: Tensor, times: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Features]:
        self.batches.append(x.shape[0])
        self.modes.append(any(module.training for module in self.modules()))
        out: tuple[Tensor, Features] = self.trunk(x, times) if labels is None else self.trunk(x, times, labels)
        return out


def counted(network: nn.Module, reading: Reading, autocast: torch.dtype | None = None) -> MeanModel:
    """A model around a network that counts its calls: its attribute ``network`` is a :class:`CountingTrunk`."""
    return MeanModel(CountingTrunk(network), reading, autocast=autocast)


def perfect_model(world: GaussianWorld | MixtureWorld, data: DataDescription, bias: float = 0.0) -> MeanModel:
    """The world's own mean model."""
    return MeanModel(PerfectTrunk(world, bias), Reading(world.schedule, data, OUR_TIMES))
