"""The second output of Extended-Analytic-DPM's network as plain functions of its weights by their names."""

from __future__ import annotations

import torch
from torch import Tensor

from oracles.published_unet import conv, linear, norm, residual, silu, sinusoids

__all__ = ["head", "out2"]

Weights = dict[str, Tensor]


def head(network: str, images: int = 3, channels: int = 32, scale_shift: bool = True) -> Weights:
    """Random weights under the names of ``UNetModel4Pretrained``'s second output."""
    draw = torch.Generator().manual_seed(7)

    def random(*shape: int) -> Tensor:
        return 0.3 * torch.randn(*shape, generator=draw)

    def layer(name: str, *shape: int) -> Weights:
        return {f"{name}.weight": random(*shape), f"{name}.bias": random(shape[0])}

    first = 0 if network == "simple" else 1
    found = {**layer(f"out2.{first}", channels), **layer(f"out2.{first + 2}", images, channels, 3, 3)}
    if network == "complex":
        wide = 2 * channels if scale_shift else channels
        found |= {
            **layer("out2.0.in_layers.0", channels), **layer("out2.0.in_layers.2", channels, channels, 3, 3),
            **layer("out2.0.emb_layers.1", wide, 4 * channels),
            **layer("out2.0.out_layers.0", channels), **layer("out2.0.out_layers.3", channels, channels, 3, 3),
        }  # fmt: skip
    return found


def out2(w: Weights, activations: Tensor, times: Tensor, channels: int = 32) -> Tensor:
    """What theirs gives of the activations before the output, at network times."""
    if "out2.3.weight" not in w:
        return conv(w, "out2.2", silu(norm(w, "out2.0", activations)))
    embedding = torch.from_numpy(sinusoids(times.double().numpy(), channels)).to(activations.dtype)
    embedding = linear(w, "time_embed.2", silu(linear(w, "time_embed.0", embedding)))
    return conv(w, "out2.3", silu(norm(w, "out2.1", residual(w, "out2.0", activations, embedding))))
