"""EDM's two U-Nets: SongUNet (DDPM++ and NCSN++) and DhariwalUNet (ADM), with the names of their weights.

Blocks are called by the size at which they work and by their place: ``enc.32x32_block0``, ``dec.16x16_up``.
Source: arXiv 2206.00364, appendix F.2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffcov.nets.adapters.edm_blocks import Block, Conv, Fourier, Norm, Sinusoids, Style, one_hot
from diffcov.nets.blocks import timestep_embedding
from diffcov.nets.features import Features

__all__ = ["UNETS", "DhariwalUNet", "EdmUNet", "SongUNet"]


class EdmUNet(nn.Module):
    """What both have: an encoder, a decoder that takes what the encoder kept, and an embedding.

    Args:
        style: of the blocks.
        size: H = W of the images.
        in_channels: C of the images.
        first: channels of the first convolution.
        widths: channels of each level.
        blocks: residual blocks a level; the decoder has one more.
        attention: sizes at which attention follows.
        everywhere: whether it follows every block of the decoder there; else the last of a level.
        embedding: width of the embedding.
        residual: whether the image comes in again at every level, halved and convolved (NCSN++).
    """

    def __init__(
        self,
        style: Style,
        size: int,
        in_channels: int,
        first: int,
        widths: Sequence[int],
        blocks: int,
        attention: Sequence[int],
        everywhere: bool,
        embedding: int,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.feature_channels, self.embedding_width = widths[0], embedding
        sizes = [size >> depth for depth in range(len(widths))]
        self.enc, self.dec = nn.ModuleDict(), nn.ModuleDict()
        self.enc[_named(size, "conv")] = Conv(in_channels, first, 3)
        x, auxiliary, kept = first, in_channels, [first]
        for depth, (side, width) in enumerate(zip(sizes, widths, strict=True)):
            if depth:
                self.enc[_named(side, "down")] = Block(x, x, embedding, style, down=True)
                kept.append(x)
                if residual:
                    again = Conv(auxiliary, x, 3, style.taps, down=True, fused=True)
                    self.enc[_named(side, "aux_residual")] = again
                    auxiliary = x
            for number in range(blocks):
                block = Block(x, width, embedding, style, attention=side in attention)
                self.enc[_named(side, f"block{number}")] = block
                x = width
                kept.append(x)
        self.dec[_named(sizes[-1], "in0")] = Block(x, x, embedding, style, attention=True)
        self.dec[_named(sizes[-1], "in1")] = Block(x, x, embedding, style)
        for depth, (side, width) in reversed(list(enumerate(zip(sizes, widths, strict=True)))):
            if depth < len(widths) - 1:
                self.dec[_named(side, "up")] = Block(x, x, embedding, style, up=True)
            for number in range(blocks + 1):
                attends = side in attention and (everywhere or number == blocks)
                block = Block(x + kept.pop(), width, embedding, style, attention=attends)
                self.dec[_named(side, f"block{number}")] = block
                x = width

    def trunk(self, x: Tensor, embedding: Tensor) -> Tensor:
        """What the last norm sees, (B, F, H, W)."""
        kept: list[Tensor] = []
        again = x
        for name, part in self.enc.items():
            if isinstance(part, Block):
                x = part(x, embedding)
            elif "aux_residual" in name:
                x = again = (x + part(again)) / math.sqrt(2)
                kept.pop()
            else:
                x = part(x)
            kept.append(x)
        for name, part in self.dec.items():
            if isinstance(part, Block):
                x = part(torch.cat([x, kept.pop()], 1) if "block" in name else x, embedding)
        return x


class SongUNet(EdmUNet):
    """(x (B, C, H, W), noise labels (B,)[, classes (B,)]) -> (output, features before its last norm).

    Args:
        img_resolution: H = W of the images.
        in_channels, out_channels: C of the images and of the output.
        label_dim: number of classes; 0 takes none.
        model_channels: base width.
        channel_mult: factor of each level.
        channel_mult_emb: width of the embedding over the base width.
        num_blocks: residual blocks a level.
        attn_resolutions: sizes at which attention follows.
        fourier: whether the noise label enters by random Fourier features (NCSN++); else by sinusoids.
        channel_mult_noise: width of these over the base width.
        residual: whether the encoder sees the image again at every level (NCSN++).
        resample_filter: one row of the filter that halves and doubles the size.
    """

    def __init__(
        self,
        img_resolution: int,
        in_channels: int,
        out_channels: int,
        label_dim: int = 0,
        model_channels: int = 128,
        channel_mult: Sequence[int] = (1, 2, 2, 2),
        channel_mult_emb: int = 4,
        num_blocks: int = 4,
        attn_resolutions: Sequence[int] = (16,),
        fourier: bool = False,
        channel_mult_noise: int = 1,
        residual: bool = False,
        resample_filter: Sequence[float] = (1, 1),
    ) -> None:
        style = Style(1e-6, math.sqrt(0.5), False, True, tuple(resample_filter), lambda width: 1)
        widths = [model_channels * factor for factor in channel_mult]
        wide, told = model_channels * channel_mult_emb, model_channels * channel_mult_noise
        super().__init__(
            style, img_resolution, in_channels, model_channels, widths, num_blocks, attn_resolutions, False, wide,
            residual,
        )  # fmt: skip
        self.map_noise = (Fourier if fourier else Sinusoids)(told)
        self.map_label = nn.Linear(label_dim, told) if label_dim else None
        self.map_layer0, self.map_layer1 = nn.Linear(told, wide), nn.Linear(wide, wide)
        self._last = _named(img_resolution, "aux_norm"), _named(img_resolution, "aux_conv")
        self.dec[self._last[0]] = Norm(widths[0], 1e-6)
        self.dec[self._last[1]] = Conv(widths[0], out_channels, 3)

    def forward(self, x: Tensor, noise: Tensor, classes: Tensor | None = None) -> tuple[Tensor, Features]:
        """The output (B, C', H, W), and what its last norm sees."""
        told = self.map_noise(noise).to(x.dtype)
        if self.map_label is not None:
            count = self.map_label.in_features
            told = told + self.map_label(one_hot(classes, count, x) * math.sqrt(count))
        embedding = F.silu(self.map_layer1(F.silu(self.map_layer0(told))))
        x = self.trunk(x, embedding)
        norm, conv = (self.dec[name] for name in self._last)
        return conv(F.silu(norm(x))), Features(x, embedding)


class DhariwalUNet(EdmUNet):
    """(x (B, C, H, W), noise labels (B,)[, classes (B,)]) -> (output, features before its last norm).

    Args: as for :class:`SongUNet`. Heads are 64 wide, and a level narrower than that has no attention.
    """

    def __init__(
        self,
        img_resolution: int,
        in_channels: int,
        out_channels: int,
        label_dim: int = 0,
        model_channels: int = 192,
        channel_mult: Sequence[int] = (1, 2, 3, 4),
        channel_mult_emb: int = 4,
        num_blocks: int = 3,
        attn_resolutions: Sequence[int] = (32, 16, 8),
    ) -> None:
        style = Style(1e-5, 1.0, True, False, (1, 1), lambda width: width // 64)
        widths = [model_channels * factor for factor in channel_mult]
        wide = model_channels * channel_mult_emb
        super().__init__(
            style, img_resolution, in_channels, widths[0], widths, num_blocks, attn_resolutions, True, wide
        )
        self.told = model_channels
        self.map_label = nn.Linear(label_dim, wide, bias=False) if label_dim else None
        self.map_layer0, self.map_layer1 = nn.Linear(model_channels, wide), nn.Linear(wide, wide)
        self.out_norm, self.out_conv = Norm(widths[0], 1e-5), Conv(widths[0], out_channels, 3)

    def forward(self, x: Tensor, noise: Tensor, classes: Tensor | None = None) -> tuple[Tensor, Features]:
        """The output (B, C', H, W), and what its last norm sees."""
        told = timestep_embedding(noise, self.told).to(x.dtype)
        embedding = self.map_layer1(F.silu(self.map_layer0(told)))
        if self.map_label is not None:
            embedding = embedding + self.map_label(one_hot(classes, self.map_label.in_features, x))
        embedding = F.silu(embedding)
        x = self.trunk(x, embedding)
        return self.out_conv(F.silu(self.out_norm(x))), Features(x, embedding)


def _named(size: int, place: str) -> str:
    return f"{size}x{size}_{place}"


UNETS: dict[str, type[EdmUNet]] = {"SongUNet": SongUNet, "DhariwalUNet": DhariwalUNet}
"""By the names that EDM's files call them."""
