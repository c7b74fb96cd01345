"""The parts of EDM's networks, written anew from what they compute, with the names of their weights.

One block serves both families: of DDPM++ / NCSN++ ("Song") and of ADM ("Dhariwal"); :class:`Style` says what tells
them apart. Dropout is left out: these networks are not trained here. Source: arXiv 2206.00364, appendix F.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Block", "Conv", "Fourier", "Norm", "Sinusoids", "Style", "one_hot"]


@dataclass(frozen=True)
class Style:
    """How a family makes its blocks.

    Attributes:
        eps: of the norms.
        skip_scale: what a block's output, and that of its attention, is multiplied by.
        adaptive: whether the embedding scales and shifts the second norm; else it is added before it.
        projects: whether the residual of a block that changes the size is convolved too.
        taps: of the filter that halves and doubles the size.
        heads: attention heads of a width.
    """

    eps: float
    skip_scale: float
    adaptive: bool
    projects: bool
    taps: tuple[float, ...]
    heads: Callable[[int], int]


class Conv(nn.Module):
    """A convolution, before which the size may be doubled or halved.

    Args:
        before, after: channels.
        kernel: its side; 0 has no convolution and only changes the size.
        taps: one row of the separable filter that changes the size, in any unit.
        up, down: whether the size is doubled or halved.
        fused: whether the convolution comes before the halving, and sees zeros as far beyond the border as both reach.
    """

    resample_filter: Tensor | None

    def __init__(
        self,
        before: int,
        after: int,
        kernel: int,
        taps: Sequence[float] = (1, 1),
        up: bool = False,
        down: bool = False,
        fused: bool = False,
    ) -> None:
        super().__init__()
        self.up, self.down, self.fused = up, down, fused
        if kernel:
            self.weight = nn.Parameter(torch.randn(after, before, kernel, kernel) / (kernel * math.sqrt(before)))
            self.bias = nn.Parameter(torch.zeros(after))
        self.reach, self.margin = kernel // 2, (len(taps) - 1) // 2
        row = torch.tensor(taps, dtype=torch.float32)
        square = torch.outer(row, row)[None, None] / row.sum().square()
        self.register_buffer("resample_filter", square if up or down else None)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W')."""
        if self.fused:
            seen = F.conv2d(x, self.weight, padding=self.reach + self.margin)
            return self._halved(seen, 0) + self.bias[:, None, None]
        if self.up:
            x = F.conv_transpose2d(x, 4 * self._each(x), stride=2, padding=self.margin, groups=x.shape[1])
        if self.down:
            x = self._halved(x, self.margin)
        return F.conv2d(x, self.weight, self.bias, padding=self.reach) if hasattr(self, "weight") else x

    def _each(self, x: Tensor) -> Tensor:
        assert self.resample_filter is not None
        return self.resample_filter.expand(x.shape[1], 1, -1, -1)

    def _halved(self, x: Tensor, padding: int) -> Tensor:
        return F.conv2d(x, self._each(x), stride=2, padding=padding, groups=x.shape[1])


class Norm(nn.GroupNorm):
    """Group norm of 32 groups, fewer where they would have less than 4 channels."""

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__(min(32, channels // 4), channels, eps)


class Block(nn.Module):
    """norm, SiLU, convolution; the embedding enters; norm, SiLU, convolution; the residual; and maybe attention.

    Args:
        before, after: channels.
        embedding: width of the embedding.
        style: of its family.
        attention: whether attention follows; a style may give a width no head, and so none.
        up, down: whether the size is doubled or halved.
    """

    def __init__(
        self,
        before: int,
        after: int,
        embedding: int,
        style: Style,
        attention: bool = False,
        up: bool = False,
        down: bool = False,
    ) -> None:
        super().__init__()
        self.style, self.resamples = style, up or down
        self.norm0 = Norm(before, style.eps)
        self.conv0 = Conv(before, after, 3, style.taps, up, down)
        self.affine = nn.Linear(embedding, after * (2 if style.adaptive else 1))
        self.norm1 = Norm(after, style.eps)
        self.conv1 = Conv(after, after, 3)
        self.skip: nn.Module = nn.Identity()
        if before != after or self.resamples:
            projects = before != after or style.projects
            self.skip = Conv(before, after, 1 if projects else 0, style.taps, up, down)
        self.heads = style.heads(after) if attention else 0
        if self.heads:
            self.norm2 = Norm(after, style.eps)
            self.qkv, self.proj = Conv(after, 3 * after, 1), Conv(after, after, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, C, H, W), (B, E) -> (B, C', H', W')."""
        h = self.conv0(F.silu(self.norm0(x)))
        shift = self.affine(embedding)[:, :, None, None]
        if self.style.adaptive:
            scale, shift = shift.chunk(2, 1)
            h = self.norm1(h) * (scale + 1) + shift
        else:
            h = self.norm1(h + shift)
        x = (self.conv1(F.silu(h)) + self.skip(x)) * self.style.skip_scale
        return (x + self._attention(x)) * self.style.skip_scale if self.heads else x

    def _attention(self, x: Tensor) -> Tensor:
        """Rows of the projection are (head, channel, q k v): the three of one channel are neighbours."""
        B, C, H, W = x.shape
        qkv = self.qkv(self.norm2(x)).reshape(B, self.heads, C // self.heads, 3, H * W)
        q, k, v = (part.transpose(2, 3).contiguous() for part in qkv.unbind(3))
        seen = F.scaled_dot_product_attention(q, k, v).transpose(2, 3)
        out: Tensor = self.proj(seen.reshape(B, C, H, W))
        return out


class Sinusoids(nn.Module):
    """sin, then cos, of times * 10000^(-i / (half - 1)), computed in the dtype of the times."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.count = width // 2

    def forward(self, times: Tensor) -> Tensor:
        """(B,) -> (B, E)."""
        i = torch.arange(self.count, dtype=times.dtype, device=times.device)
        angles = times[:, None] * 10_000.0 ** (-i / (self.count - 1))
        return torch.cat([angles.sin(), angles.cos()], 1)


class Fourier(nn.Module):
    """sin, then cos, of 2 pi times * frequencies, which were drawn at random and are kept with the weights."""

    freqs: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("freqs", torch.randn(width // 2) * 16)

    def forward(self, times: Tensor) -> Tensor:
        """(B,) -> (B, E)."""
        angles = 2 * math.pi * times[:, None] * self.freqs.to(times.dtype)
        return torch.cat([angles.sin(), angles.cos()], 1)


def one_hot(labels: Tensor | None, classes: int, like: Tensor) -> Tensor:
    """(B,) labels -> (B, classes) in the dtype of ``like`` (B, ...); zeros for an image without one (below 0)."""
    if labels is None:
        return like.new_zeros(len(like), classes)
    return F.one_hot(labels.clamp(min=0), classes).to(like.dtype) * (labels >= 0)[:, None]
