"""Settings that are known to work, chosen from the data when not named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from diffcov.data import DataDescription
from diffcov.engines.training.config import TrainingConfig
from diffcov.nets.unet import UNetConfig, levels_that_fit

__all__ = ["PRESETS", "Preset", "choose_preset", "network_for"]


@dataclass(frozen=True)
class Preset:
    """A network and how to train it.

    Attributes:
        largest_short_side: the preset is chosen for images whose shorter side is at most this many pixels.
        network: fields of :class:`UNetConfig` that do not depend on the image size.
        attention_levels: resolution levels (0 = the image's own) with attention.
        training: how to train the mean.
        iterations: default budget of train-mean.
        head: how to fit heads on it.
        head_architecture: which head; the simple one needs a long fit, because its features must carry the time.
        head_iterations: default budget of fit-var-head.
    """

    largest_short_side: int
    network: Mapping[str, Any]
    attention_levels: tuple[int, ...]
    training: TrainingConfig
    iterations: int
    head: TrainingConfig = field(default_factory=TrainingConfig)
    head_architecture: str = "simple"
    head_iterations: int = 500_000


PRESETS: dict[str, Preset] = {
    # Mean and heads together in about six minutes on two CPU cores.
    "digits": Preset(
        largest_short_side=16,
        network={"channels": 32, "multipliers": (1, 2), "blocks": 2, "heads": 4, "dropout": 0.0},
        attention_levels=(1,),
        training=TrainingConfig(batch_size=128, lr=2e-3, warmup=100, ema_decay=0.999),
        iterations=900,
        head=TrainingConfig(batch_size=128, lr=5e-3, warmup=50, ema_decay=0.999),
        head_architecture="complex",
        head_iterations=400,
    ),
    # An hour on two CPU cores, minutes on a GPU.
    "mnist": Preset(
        largest_short_side=28,
        network={"channels": 32, "multipliers": (1, 2, 2), "blocks": 1, "heads": 4, "dropout": 0.0},
        attention_levels=(2,),
        training=TrainingConfig(batch_size=64, lr=1e-3, warmup=200, ema_decay=0.999),
        iterations=6000,
        head=TrainingConfig(batch_size=64, lr=5e-3, warmup=100, ema_decay=0.999),
        head_architecture="complex",
        head_iterations=600,
    ),
    # The papers' (arXiv 2102.09672 and 2206.07309), for a GPU.
    "cifar10": Preset(
        largest_short_side=1 << 30,
        network={"channels": 128, "multipliers": (1, 2, 2, 2), "blocks": 3, "heads": 4, "dropout": 0.3},
        attention_levels=(1, 2),
        training=TrainingConfig(batch_size=128, lr=1e-4, ema_decay=0.9999, flip=True),
        iterations=500_000,
        head=TrainingConfig(batch_size=128, lr=1e-4, ema_decay=0.9999, flip=True),
    ),
}
"""Presets by name, small images first."""


def choose_preset(data: DataDescription) -> str:
    """The first preset whose ``largest_short_side`` the images' shorter side does not exceed."""
    side = min(data.height, data.width)
    return next(name for name, preset in PRESETS.items() if side <= preset.largest_short_side)


def network_for(preset: Preset, data: DataDescription, given: Mapping[str, Any]) -> UNetConfig:
    """The preset's network for these images, with every given field in place of the preset's.

    Multipliers that were not given are cut to the resolution levels that the image size allows, and attention that
    was not given goes to the preset's levels as far as they exist.

    Raises:
        UsageError: given fields that no network has.
    """
    fields = {**preset.network, **given}
    if "multipliers" not in given:
        fields["multipliers"] = fields["multipliers"][: levels_that_fit(data.height, data.width)]
    if "attention" not in given:
        side, levels = min(data.height, data.width), len(fields["multipliers"])
        fields["attention"] = tuple(side >> level for level in preset.attention_levels if level < levels)
    return UNetConfig(image_channels=data.channels, height=data.height, width=data.width, **fields)
