"""Models as other libraries make them, with random weights everywhere: small, and never zero."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn

__all__ = ["scattered", "tiny_pipeline", "tiny_unet"]


def scattered(module: nn.Module, size: float = 0.1, seed: int = 0) -> nn.Module:
    """The module in eval mode with noise added to every parameter: nothing in it stays zero or one."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=draw))
    return module.eval()


def tiny_unet(**options: Any) -> Any:
    """A UNet2DModel of the digits' size; options override its configuration."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers import UNet2DModel
    config: dict[str, Any] = {
        "sample_size": 8, "in_channels": 1, "out_channels": 1, "layers_per_block": 1, "block_out_channels": (8, 16),
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        "norm_num_groups": 4, "attention_head_dim": 8,
    }  # fmt: skip
    torch.manual_seed(0)
    return scattered(UNet2DModel(**{**config, **options}))


def tiny_pipeline(unet: dict[str, Any] | None = None, **scheduler: Any) -> Any:
    """A DDPMPipeline around a tiny network; options are its scheduler's."""
    network = tiny_unet(**(unet or {}))
    from diffusers import DDPMPipeline, DDPMScheduler

    return DDPMPipeline(network, DDPMScheduler(**scheduler))
