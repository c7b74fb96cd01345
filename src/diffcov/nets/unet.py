"""The U-Net of improved-diffusion / ADM: a trunk for mean models, and the features before its output."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from diffcov.errors import UsageError
from diffcov.nets.blocks import (
    Attention,
    Double,
    Downsample,
    GroupNorm,
    Halve,
    ResBlock,
    Upsample,
    timestep_embedding,
    zero_init,
)
from diffcov.nets.features import Features

__all__ = ["UNet", "UNetConfig"]

OF_OTHERS = ("head_width", "qkv_apart", "blocks_resample", "learned_range")
"""Fields that networks trained here never use, and digests of before do not know."""
DEEPEST = 1000
"""Blocks a level that a network may have: a file may claim what would be built for days."""


@dataclass(frozen=True)
class UNetConfig:
    """Everything that determines the function and the parameter names of a :class:`UNet`.

    Args:
        image_channels: C of the images.
        height: H in pixels, a multiple of 2^(levels - 1).
        width: W in pixels, likewise.
        channels: base width; level i has ``channels * multipliers[i]``.
        multipliers: one factor a resolution level; the size halves from one to the next.
        blocks: residual blocks a level.
        attention: lengths of the image's shorter side at which attention follows each residual block.
        heads: attention heads.
        dropout: probability inside residual blocks, in [0, 1).
        scale_shift: whether the embedding scales and shifts (published: yes) or is added.
        classes: number of classes whose labels it takes; 0 takes none.
        head_width: channels of an attention head, instead of a number of heads; 0 takes that number (ADM has 64).
        qkv_apart: whether q, k and v are split before heads are (one published ImageNet-64 network); else heads first.
        blocks_resample: whether residual blocks halve and double the size (ADM's larger networks); else convolutions.
        learned_range: whether the output has a second half, the learned variance's place in its range.

    Raises:
        UsageError: a combination that no network has, with the options that mend it.
    """

    image_channels: int
    height: int
    width: int
    channels: int = 128
    multipliers: tuple[int, ...] = (1, 2, 2, 2)
    blocks: int = 3
    attention: tuple[int, ...] = (16, 8)
    heads: int = 4
    dropout: float = 0.3
    scale_shift: bool = True
    classes: int = 0
    head_width: int = 0
    qkv_apart: bool = False
    blocks_resample: bool = False
    learned_range: bool = False

    def __post_init__(self) -> None:
        if not self.multipliers or min(*self.multipliers, self.channels, self.blocks, self.heads, 1) < 1:
            raise UsageError(
                "--channels, --multipliers, --blocks and --heads must be at least 1, found "
                f"{self.channels}, {list(self.multipliers)}, {self.blocks}, {self.heads}"
            )
        if self.blocks > DEEPEST or self.image_channels < 1:
            found = f"{self.blocks} and {self.image_channels}"
            raise UsageError(f"a U-Net has at most {DEEPEST} blocks a level, and images a channel; found {found}")
        if self.classes < 0 or self.classes == 1:
            raise UsageError(f"a network that knows classes needs at least 2 of them, found {self.classes}")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"dropout must be in [0, 1), found {self.dropout}")
        needed = 2 ** (len(self.multipliers) - 1)
        if self.height % needed or self.width % needed:
            fitting = ",".join(str(m) for m in self.multipliers[: levels_that_fit(self.height, self.width)])
            raise UsageError(
                f"images are {self.height}x{self.width} but a U-Net with {len(self.multipliers)} multipliers needs "
                f"sides that are multiples of {needed}; use --multipliers {fitting}"
            )
        missing = set(self.attention) - set(self.sides)
        if missing:
            raise UsageError(
                f"attention was asked for at {sorted(missing)}, but this network's shorter side takes the lengths "
                f"{list(self.sides)}; choose --attention from these, or none"
            )
        for side, factor in zip(self.sides, self.multipliers, strict=True):
            width = self.channels * factor
            if side in (*self.attention, self.sides[-1]) and width % self.heads_of(width):
                raise UsageError(
                    f"{width} channels cannot be split into {self.heads_of(width)} attention heads; "
                    "change --heads or --channels"
                )

    def heads_of(self, width: int) -> int:
        """The number of attention heads where there are ``width`` channels."""
        return max(1, width // self.head_width) if self.head_width else self.heads

    @property
    def out_channels(self) -> int:
        """Channels of the output: C, or 2 C with a learned variance."""
        return self.image_channels * (2 if self.learned_range else 1)

    @property
    def sides(self) -> tuple[int, ...]:
        """The shorter side at each level, first the image's own."""
        return tuple(min(self.height, self.width) >> i for i in range(len(self.multipliers)))

    def build(self) -> UNet:
        """The network with fresh weights."""
        return UNet(self)

    def decides(self) -> dict[str, Any]:
        """What decides the network's function beside its weights: all of it."""
        return self.as_dict()

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain values, for metadata; those of other families are left out where they are not used."""
        values = asdict(self)
        return {name: value for name, value in values.items() if value or name not in OF_OTHERS}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Self:
        """The inverse of :meth:`as_dict` (lists become tuples again)."""
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        return cls(**values)


def levels_that_fit(height: int, width: int) -> int:
    """How many resolution levels an image of this size allows: 1 + the times both sides halve evenly."""
    levels = 1
    while height % 2 == 0 and width % 2 == 0 and min(height, width) > 1:
        height, width, levels = height // 2, width // 2, levels + 1
    return levels


class Stage(nn.Sequential):
    """Modules in a row, of which some take the embedding."""

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:  # type: ignore[override]
        """(B, C, H, W), (B, E) -> (B, C', H', W')."""
        for module in self:
            x = module(x) if isinstance(module, nn.Conv2d) else module(x, embedding)
        return x


class UNet(nn.Module):
    """output = out(features(x, times, labels)).

    Parameter names are the published ones (``input_blocks.0.0.weight``, ..., ``label_emb.weight``). The embedding of a
    label is added to that of the time, as in arXiv 2105.05233; an image without a label adds nothing.

    Attributes:
        checkpointed: whether, in training, stages keep their input alone and compute the rest again on the way back:
            less memory, a third more time (arXiv 1604.06174). No part of what the network is.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        self.checkpointed = False
        self.feature_channels = width = config.channels * config.multipliers[0]
        self.embedding_width = embedding = 4 * config.channels
        self.time_embed = nn.Sequential(
            nn.Linear(config.channels, embedding), nn.SiLU(), nn.Linear(embedding, embedding)
        )
        if config.classes:
            self.label_emb = nn.Embedding(config.classes, embedding)

        def block(channels_in: int, channels_out: int, resample: nn.Module | None = None) -> ResBlock:
            return ResBlock(channels_in, channels_out, embedding, config.dropout, config.scale_shift, resample)

        def attention(width: int) -> Attention:
            return Attention(width, config.heads_of(width), config.qkv_apart)

        levels = list(zip(config.multipliers, config.sides, strict=True))
        self.input_blocks = nn.ModuleList([Stage(nn.Conv2d(config.image_channels, width, 3, padding=1))])
        skips = [width]
        for level, (factor, side) in enumerate(levels):
            if level:
                down = block(width, width, Halve()) if config.blocks_resample else Downsample(width)
                self.input_blocks.append(Stage(down))
                skips.append(width)
            for _ in range(config.blocks):
                stage = Stage(block(width, config.channels * factor))
                width = config.channels * factor
                if side in config.attention:
                    stage.append(attention(width))
                self.input_blocks.append(stage)
                skips.append(width)
        self.middle_block = Stage(block(width, width), attention(width), block(width, width))
        self.output_blocks = nn.ModuleList()
        for level, (factor, side) in reversed(list(enumerate(levels))):
            for last in [False] * config.blocks + [True]:
                stage = Stage(block(width + skips.pop(), config.channels * factor))
                width = config.channels * factor
                if side in config.attention:
                    stage.append(attention(width))
                if last and level:
                    stage.append(block(width, width, Double()) if config.blocks_resample else Upsample(width))
                self.output_blocks.append(stage)
        self.out = nn.Sequential(
            GroupNorm(width), nn.SiLU(), zero_init(nn.Conv2d(width, config.out_channels, 3, padding=1))
        )

    def features(self, x: Tensor, times: Tensor, labels: Tensor | None = None) -> Features:
        """The activations before the output norm, and the embedding.

        Args:
            x: (B, C, H, W).
            times: (B,) in the network's own convention.
            labels: (B,) int64 in 0..classes-1, or below 0 for an image without a label; None for a network without
                classes.
        """
        embedding = self.time_embed(timestep_embedding(times, self.config.channels))
        if labels is not None:
            embedding = embedding + self.label_emb(labels.clamp(min=0)) * (labels >= 0)[:, None]
        kept: list[Tensor] = []
        h = x
        for stage in self.input_blocks:
            h = self._through(stage, h, embedding)
            kept.append(h)
        h = self._through(self.middle_block, h, embedding)
        for stage in self.output_blocks:
            h = self._through(stage, torch.cat([h, kept.pop()], dim=1), embedding)
        return Features(h, embedding)

    def _through(self, stage: nn.Module, h: Tensor, embedding: Tensor) -> Tensor:
        if self.checkpointed and self.training and torch.is_grad_enabled():
            return checkpoint(stage, h, embedding, use_reentrant=False)  # type: ignore[no-any-return]
        return stage(h, embedding)  # type: ignore[no-any-return]

    def forward(self, x: Tensor, times: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Features]:
        """(output (B, C, H, W), or (B, 2C, H, W) with a learned variance, and features)."""
        features = self.features(x, times, labels)
        return self.out(features.activations), features
