"""The blocks of the improved-diffusion / ADM family of U-Nets.

Submodules carry the published names (``in_layers``, ``emb_layers``, ``qkv``, ...) and compute the published function,
so that a published checkpoint loads by a map of names alone. Source: arXiv 2102.09672 and 2105.05233.
"""

from __future__ import annotations

import math
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "Attention",
    "Double",
    "Downsample",
    "GroupNorm",
    "Halve",
    "ResBlock",
    "Upsample",
    "single_or_double",
    "timestep_embedding",
    "zero_init",
]

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def timestep_embedding(times: Tensor, width: int, max_period: float = 10_000.0) -> Tensor:
    """cos, then sin, of times * max_period^(-i / (width/2)) for i = 0..width/2-1.

    Args:
        times: (B,) float32 or float64, in the network's own convention, not necessarily whole.
        width: E; an odd width is padded by one zero.

    Returns:
        (B, E) in the dtype of the times, which is float32 or float64.
    """
    half = width // 2
    rates = torch.exp(-math.log(max_period) * torch.arange(half, dtype=times.dtype, device=times.device) / half)
    angles = times[:, None] * rates[None]
    return F.pad(torch.cat([angles.cos(), angles.sin()], dim=1), (0, width % 2))


def zero_init(module: ModuleT) -> ModuleT:
    """The module with every parameter set to zero: a residual branch that starts as nothing."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def single_or_double(x: Tensor) -> Tensor:
    """``x`` itself in float64, else in float32: what is normalised or squared is never in half precision."""
    return x if x.dtype == torch.float64 else x.float()


class GroupNorm(nn.GroupNorm):
    """Group norm in float32 or better whatever is around it; 32 groups, fewer where channels do not divide."""

    def __init__(self, channels: int) -> None:
        super().__init__(math.gcd(32, channels), channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) -> the same shape and dtype."""
        # nn.functional.group_norm refuses a group of one value, which a 1x1 level may have; the result is the bias.
        return torch.group_norm(single_or_double(x), self.num_groups, self.weight, self.bias, self.eps).type(x.dtype)


class ResBlock(nn.Module):
    """norm, SiLU, conv; the embedding enters; norm, SiLU, dropout, conv (zero at start); plus the input.

    Args:
        channels_in: C of the input.
        channels_out: C of the output; a 1x1 convolution carries the input over where it differs.
        embedding: width of the embedding.
        dropout: probability in [0, 1).
        scale_shift: the embedding scales and shifts the second norm (FiLM) instead of being added before it.
        resample: what changes the size, of the input and of what goes into the first convolution; None keeps it.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        embedding: int,
        dropout: float,
        scale_shift: bool,
        resample: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.scale_shift = scale_shift
        self.resample = resample or nn.Identity()
        self.in_layers = nn.Sequential(
            GroupNorm(channels_in), nn.SiLU(), nn.Conv2d(channels_in, channels_out, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, channels_out * (2 if scale_shift else 1)))
        self.out_layers = nn.Sequential(
            GroupNorm(channels_out),
            nn.SiLU(),
            nn.Dropout(dropout),
            zero_init(nn.Conv2d(channels_out, channels_out, 3, padding=1)),
        )
        self.skip_connection = nn.Identity() if channels_in == channels_out else nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, C_in, H, W), (B, E) -> (B, C_out, H, W)."""
        h = self.in_layers[2](self.resample(self.in_layers[:2](x)))
        emb = self.emb_layers(embedding).type(h.dtype)[:, :, None, None]
        if self.scale_shift:
            scale, shift = emb.chunk(2, dim=1)
            h = self.out_layers[1:](self.out_layers[0](h) * (1 + scale) + shift)
        else:
            h = self.out_layers(h + emb)
        skip: Tensor = self.skip_connection(self.resample(x)) + h
        return skip


class Attention(nn.Module):
    """Self-attention over all pixels, with a residual.

    Args:
        channels: C, a multiple of ``heads``.
        heads: number of heads.
        qkv_apart: whether q, k and v are split before heads are; else heads are split first.
    """

    def __init__(self, channels: int, heads: int, qkv_apart: bool = False) -> None:
        super().__init__()
        self.heads, self.qkv_apart = heads, qkv_apart
        self.norm = GroupNorm(channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = zero_init(nn.Conv1d(channels, channels, 1))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W); the embedding is not used."""
        batch, channels, height, width = x.shape
        flat = x.reshape(batch, channels, height * width)
        split, of_three = ((3, self.heads), 1) if self.qkv_apart else ((self.heads, 3), 2)
        qkv = self.qkv(self.norm(flat)).reshape(batch, *split, channels // self.heads, height * width)
        q, k, v = qkv.transpose(3, 4).unbind(dim=of_three)
        mixed = F.scaled_dot_product_attention(_packed(q), _packed(k), _packed(v))
        out: Tensor = self.proj_out(mixed.transpose(2, 3).reshape(batch, channels, height * width))
        return (flat + out).reshape(batch, channels, height, width)


def _packed(values: Tensor) -> Tensor:
    """A copy whose strides are those of its shape.

    ``contiguous`` leaves any stride to an axis of length 1, and CUDA's attention refuses some of them.
    """
    return values.clone(memory_format=torch.contiguous_format)


class Halve(nn.Module):
    """Halve height and width by the mean of 2x2 pixels."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H/2, W/2)."""
        return F.avg_pool2d(x, 2)


class Double(nn.Module):
    """Double height and width by repeating pixels."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, 2H, 2W)."""
        return F.interpolate(x, scale_factor=2.0, mode="nearest")


class Downsample(nn.Module):
    """Halve height and width by a strided 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H/2, W/2); the embedding is not used."""
        out: Tensor = self.op(x)
        return out


class Upsample(nn.Module):
    """Double height and width by repeating pixels, then a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.grow = Double()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, 2H, 2W); the embedding is not used."""
        out: Tensor = self.conv(self.grow(x))
        return out
