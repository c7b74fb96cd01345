"""Settings that are known to work, chosen from the data when not named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diffcov.data import DataDescription
from diffcov.engines.training.config import Budget, TrainingConfig
from diffcov.engines.training.preset_values import HEAD_VALUES, VALUES
from diffcov.nets.unet import UNetConfig, levels_that_fit

__all__ = ["HEAD", "HEAD_ARCHITECTURE", "PRESETS", "Preset", "choose_preset", "head_budget", "network_for"]


@dataclass(frozen=True)
class Preset:
    """A network and how to train it.

    Attributes:
        short_sides: the preset is chosen for images whose shorter side is at least and at most this many pixels,
        photographs_on_cpu: and, where this is set, that have colours, on a machine without a GPU.
        network: fields of :class:`UNetConfig` that do not depend on the image size.
        attention_levels: resolution levels (0 = the image's own) with attention.
        training: how to train the mean.
        iterations: default budget of train-mean.
    """

    short_sides: tuple[int, int]
    network: Mapping[str, Any]
    attention_levels: tuple[int, ...]
    training: TrainingConfig
    iterations: int
    photographs_on_cpu: bool = False

    def suits(self, data: DataDescription, gpu: bool) -> bool:
        """Whether it may be chosen for these images, with or without a GPU."""
        smallest, largest = self.short_sides
        fits = smallest <= min(data.height, data.width) <= largest
        return fits and (not self.photographs_on_cpu or (data.channels >= 3 and not gpu))


NETWORK = ("channels", "multipliers", "blocks", "heads", "dropout")
TRAINING = ("batch_size", "lr", "warmup", "weight_decay", "clip_norm", "ema_decay", "flip")
"""Fields of a network, and of how it is trained, that a preset says."""


def _preset(name: str, short_sides: tuple[int, int], photographs_on_cpu: bool = False) -> Preset:
    values = VALUES[name]
    return Preset(
        short_sides=short_sides,
        network={field: values[field] for field in NETWORK},
        attention_levels=values["attention_levels"],
        training=TrainingConfig(**{field: values[field] for field in TRAINING}),
        iterations=values["iterations"],
        photographs_on_cpu=photographs_on_cpu,
    )


PRESETS: dict[str, Preset] = {
    "small": _preset("small", (16, 64), photographs_on_cpu=True),
    "digits": _preset("digits", (1, 16)),
    "mnist": _preset("mnist", (1, 28)),
    "cifar10": _preset("cifar10", (1, 1 << 30)),
}
"""Presets by name; the first that suits the images is theirs."""

HEAD = TrainingConfig(**HEAD_VALUES)
"""How heads are fitted on any mean, however long that was trained; mirrored like its mean."""
HEAD_ARCHITECTURE = "complex"
"""The simple one needs a long fit, because its features must carry the time."""
HEAD_MINUTES = 20.0
"""The most that a fit of heads takes unasked, on whatever machine."""
LEAST_LOOKS, EPOCHS = 100_000, 20
"""Looks at images that a fit of heads takes at most unasked: twenty at each image, at least so many in all."""


def head_budget(images: int, batch_size: int) -> Budget:
    """The most that a fit of heads takes unasked; it ends before, once held-out images gain no more.

    Args:
        images: number of those that it is fitted on.
        batch_size: images an iteration.
    """
    return Budget(-(-max(LEAST_LOOKS, EPOCHS * images) // batch_size), HEAD_MINUTES)


def choose_preset(data: DataDescription, gpu: bool) -> str:
    """The first preset that suits the images on a machine with or without a GPU."""
    return next(name for name, preset in PRESETS.items() if preset.suits(data, gpu))


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
