"""The U-Net of denoising-diffusion-pytorch, written anew from what it computes, with the names of its weights.

Norms are root-mean-square norms over channels; attention is full at the levels that say so and linear elsewhere, each
with a few keys and values of its own. The time's sinusoids are sin, then cos.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffcov.nets.blocks import Double
from diffcov.nets.features import Features

__all__ = ["build"]


class Norm(nn.Module):
    """x divided by its root mean square over the channels, times a weight each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return F.normalize(x, dim=1) * (self.g * math.sqrt(x.shape[1]))


class Conv(nn.Module):
    """Convolution, norm, a shift and scale by the time, SiLU."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(before, after, 3, padding=1)
        self.norm = Norm(after)

    def forward(self, x: Tensor, scale: Tensor | float = 0.0, shift: Tensor | float = 0.0) -> Tensor:
        """(B, C, H, W) -> (B, C', H, W)."""
        return F.silu(self.norm(self.proj(x)) * (scale + 1) + shift)


class Block(nn.Module):
    """Two convolutions with a residual; the time enters the first."""

    def __init__(self, before: int, after: int, embedding: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(embedding, 2 * after))
        self.block1, self.block2 = Conv(before, after), Conv(after, after)
        self.res_conv = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, C, H, W), (B, E) -> (B, C', H, W)."""
        scale, shift = self.mlp(embedding)[:, :, None, None].chunk(2, 1)
        out: Tensor = self.block2(self.block1(x, scale, shift)) + self.res_conv(x)
        return out


class Heads(nn.Module):
    """What both kinds of attention share: a norm, queries, keys and values by heads, and a memory.

    Args:
        width: C.
        heads: number of heads.
        hidden: channels of all heads together.
        memory: (2, heads, ...), the shape of the keys and values of its own.
    """

    def __init__(self, width: int, heads: int, hidden: int, memory: tuple[int, ...]) -> None:
        super().__init__()
        self.heads = heads
        self.norm = Norm(width)
        self.mem_kv = nn.Parameter(torch.randn(memory))
        self.to_qkv = nn.Conv2d(width, 3 * hidden, 1, bias=False)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """(B, C, H, W) -> q, k, v, each (B, heads, c, H W), and keys and values of the memory for every image."""
        B, _, H, W = x.shape
        q, k, v = self.to_qkv(self.norm(x)).reshape(B, 3, self.heads, -1, H * W).unbind(1)
        memory_k, memory_v = self.mem_kv[:, None].expand(-1, B, -1, -1, -1)
        return q, k, v, memory_k, memory_v


class FullAttention(Heads):
    """Every pixel looks at every pixel and at the memory; with a residual."""

    def __init__(self, width: int, heads: int, hidden: int, memory: int) -> None:
        super().__init__(width, heads, hidden, (2, heads, memory, hidden // heads))
        self.to_out = nn.Conv2d(hidden, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        q, k, v, memory_k, memory_v = self.split(x)
        k, v = torch.cat([memory_k, k.transpose(2, 3)], 2), torch.cat([memory_v, v.transpose(2, 3)], 2)
        seen = F.scaled_dot_product_attention(q.transpose(2, 3), k, v).transpose(2, 3)
        out: Tensor = x + self.to_out(seen.reshape(len(x), -1, *x.shape[2:]))
        return out


class LinearAttention(Heads):
    """Keys are a distribution over pixels and the memory, queries one over channels; with a residual."""

    def __init__(self, width: int, heads: int, hidden: int, memory: int) -> None:
        super().__init__(width, heads, hidden, (2, heads, hidden // heads, memory))
        self.to_out = nn.Sequential(nn.Conv2d(hidden, width, 1), Norm(width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        q, k, v, memory_k, memory_v = self.split(x)
        k, v = torch.cat([memory_k, k], 3).softmax(3), torch.cat([memory_v, v], 3)
        seen = (v @ k.transpose(2, 3)) @ (q.softmax(2) / math.sqrt(q.shape[2]))
        out: Tensor = x + self.to_out(seen.reshape(len(x), -1, *x.shape[2:]))
        return out


class Fold(nn.Module):
    """Every 2x2 pixels as four channels, then a convolution of one pixel."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 4 C, H/2, W/2)."""
        return F.pixel_unshuffle(x, 2)


class Sinusoids(nn.Module):
    """sin, then cos, of times * theta^(-i / (half - 1))."""

    def __init__(self, width: int, theta: float) -> None:
        super().__init__()
        self.count, self.theta = width // 2, theta

    def forward(self, times: Tensor) -> Tensor:
        """(B,) -> (B, E)."""
        i = torch.arange(self.count, dtype=times.dtype, device=times.device)
        angles = times[:, None] * torch.exp(-math.log(self.theta) / (self.count - 1) * i)
        return torch.cat([angles.sin(), angles.cos()], 1)


class LucidUNet(nn.Module):
    """(x (B, C, H, W), times (B,)) -> (output, features before the last convolution).

    Args:
        channels: C of the images.
        out_channels: C, or 2 C with a learned variance.
        widths: of the first convolution, then of what each level leaves.
        time_width: of the sinusoids.
        full: for each level, whether its attention is full.
        heads: for each level, the number of attention heads; the middle has that of the last.
        head_width: channels of a head.
        memory: keys and values that each attention has of its own.
        theta: longest period of the sinusoids.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        widths: Sequence[int],
        time_width: int,
        full: Sequence[bool],
        heads: Sequence[int],
        head_width: int,
        memory: int,
        theta: float = 10_000.0,
    ) -> None:
        super().__init__()
        embedding = 4 * time_width
        self.feature_channels, self.embedding_width = widths[0], embedding
        self.init_conv = nn.Conv2d(channels, widths[0], 7, padding=3)
        self.time_mlp = nn.Sequential(
            Sinusoids(time_width, theta), nn.Linear(time_width, embedding), nn.GELU(), nn.Linear(embedding, embedding)
        )
        levels = list(zip(widths[:-1], widths[1:], full, heads, strict=True))

        def attention(width: int, is_full: bool, number: int) -> nn.Module:
            return (FullAttention if is_full else LinearAttention)(width, number, head_width * number, memory)

        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        for depth, (before, after, is_full, number) in enumerate(levels):
            last = depth == len(levels) - 1
            shrink = (
                nn.Conv2d(before, after, 3, padding=1)
                if last
                else nn.Sequential(Fold(), nn.Conv2d(4 * before, after, 1))
            )
            blocks = Block(before, before, embedding), Block(before, before, embedding)
            self.downs.append(nn.ModuleList([*blocks, attention(before, is_full, number), shrink]))
        middle = widths[-1]
        self.mid_block1, self.mid_block2 = Block(middle, middle, embedding), Block(middle, middle, embedding)
        self.mid_attn = attention(middle, True, heads[-1])
        for depth, (before, after, is_full, number) in reversed(list(enumerate(levels))):
            conv = nn.Conv2d(after, before, 3, padding=1)
            grow = nn.Sequential(Double(), conv) if depth else conv
            blocks = Block(after + before, after, embedding), Block(after + before, after, embedding)
            self.ups.append(nn.ModuleList([*blocks, attention(after, is_full, number), grow]))
        self.final_res_block = Block(2 * widths[0], widths[0], embedding)
        self.final_conv = nn.Conv2d(widths[0], out_channels, 1)

    def forward(self, x: Tensor, times: Tensor) -> tuple[Tensor, Features]:
        """(B, C, H, W), (B,) -> the output and what the last convolution sees."""
        embedding = self.time_mlp(times)
        first = x = self.init_conv(x)
        kept: list[Tensor] = []
        for level in self.downs:
            one, two, attention, shrink = level.children()
            x = one(x, embedding)
            kept.append(x)
            x = attention(two(x, embedding))
            kept.append(x)
            x = shrink(x)
        x = self.mid_block2(self.mid_attn(self.mid_block1(x, embedding)), embedding)
        for level in self.ups:
            one, two, attention, grow = level.children()
            x = one(torch.cat([x, kept.pop()], 1), embedding)
            x = two(torch.cat([x, kept.pop()], 1), embedding)
            x = grow(attention(x))
        x = self.final_res_block(torch.cat([x, first], 1), embedding)
        return self.final_conv(x), Features(x, embedding)


build = LucidUNet
"""The name by which files call it."""
