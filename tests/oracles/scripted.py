"""Tiny TorchScript modules: what a user may bring as a feature extractor."""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn


class Means(nn.Module):
    """The mean of each channel: takes any number of channels."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class Colour(nn.Module):
    """Refuses anything but three channels, as a photographic network does."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, bias=False)
        nn.init.constant_(self.conv.weight, 1 / 27)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).mean((2, 3))


class Inceptionlike(nn.Module):
    """Logits unless features are asked for; they come as (B, F, 1, 1)."""

    def forward(self, x: Tensor, return_features: bool = False) -> Tensor:
        if return_features:
            return x.mean((2, 3), keepdim=True)
        return torch.zeros(x.shape[0], 1000)


class Pair(nn.Module):
    """Two outputs; the first one counts."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.flatten(1) * 2, x


class Single(nn.Module):
    """One number for the whole batch."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean()


class Broken(nn.Module):
    """Never a number."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) / torch.zeros(1)


def save_scripted(path: Path, module: nn.Module) -> Path:
    """Write a module as users do; making TorchScript warns that it is on its way out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(module), str(path))
    return path
