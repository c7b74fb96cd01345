"""A run's network and head in the form in which diffusers keeps models."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from torch import nn

from diffcov.nets.adapters.diffusers_unet import DiffusersUNet
from diffcov.nets.adapters.lucidrains import LucidUNet
from diffcov.nets.built_by import BuiltBy
from diffcov.nets.unet import UNet
from diffcov.store.checkpoint import MeanCheckpoint
from diffcov.store.head import HeadFile

if TYPE_CHECKING:
    from diffcov.exported.diffcov_head import DiffcovHead

__all__ = ["exported_head", "exported_unet"]


def exported_unet(mean: MeanCheckpoint) -> Any:
    """The network as a model of diffusers; None of one that is a program or a stranger's module."""
    network, spec = mean.model.network, mean.spec.network
    if isinstance(network, DiffusersUNet):
        return network.unet
    if isinstance(network, UNet):
        return _ours(mean, network, "unet", network.config.as_dict(), network.config.out_channels)
    if isinstance(network, LucidUNet) and isinstance(spec, BuiltBy):
        arguments = dict(spec.arguments)
        return _ours(mean, network, "lucidrains", arguments, int(arguments["out_channels"]))
    return None


def _ours(mean: MeanCheckpoint, network: nn.Module, family: str, arguments: dict[str, Any], out_channels: int) -> Any:
    from diffcov.exported.diffcov_unet import DiffcovUNet

    data, classes = mean.model.data, mean.spec.reading.classes
    found = DiffcovUNet(family, arguments, list(data.shape[1:]), data.channels, out_channels, classes)
    found.network = network
    return found


def exported_head(file: HeadFile) -> DiffcovHead:
    """A head as a model of diffusers."""
    from diffcov.exported.diffcov_head import DiffcovHead

    spec = asdict(file.spec)
    found: DiffcovHead = DiffcovHead(**{**spec, "shape": list(file.spec.shape)})
    found.add_module("head", file.head)
    return found
