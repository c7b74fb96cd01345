"""State dictionaries of improved-diffusion and guided-diffusion (ADM): our own U-Net, configured from the weights.

What stands in the shapes: channels, multipliers, blocks, where attention is, classes, a learned variance. What does
not: the number or the width of heads, the order of q, k and v, the schedule and how times are scaled.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from diffcov.data import DataDescription
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.time import TimeConvention
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import InputError
from diffcov.nets.unet import UNetConfig
from diffcov.store.foreign.facts import Fact, Foreign, Meaning, Variation
from diffcov.store.foreign.schedules import named_schedule
from diffcov.store.foreign.variations import Change, as_it_is, predictions, times

__all__ = ["is_openai", "read_openai"]

FIRST = "input_blocks.0.0.weight"


def is_openai(weights: Mapping[str, Tensor]) -> bool:
    """Whether weights have the names of that family."""
    return FIRST in weights and "time_embed.0.weight" in weights and "out.2.weight" in weights


def read_openai(weights: dict[str, Tensor], source: Path, size: tuple[int, int] | None) -> Foreign:
    """The mean model of such weights.

    Args:
        weights: by name.
        source: the file, for facts.
        size: H and W of the images, which no weight tells; None takes 32x32 or what a known network was trained on.

    Raises:
        InputError: weights that are not those of such a network.
    """
    try:
        shape = _shape(weights)
    except (KeyError, IndexError, ValueError) as error:
        raise InputError(
            f"{source} has the names of improved-diffusion's U-Net, but not its shapes ({error})"
        ) from error
    height, width = size or (32, 32)
    config = _config(shape, height, width)
    data = DataDescription(config.image_channels, height, width)
    cosine, T = (True, 4000) if config.learned_range and not config.head_width and not config.classes else (False, 1000)
    schedule = NoiseSchedule.cosine(T) if cosine else NoiseSchedule.linear(T)
    time = TimeConvention.spanning_thousand(T)
    reading = Reading(
        schedule, data, time, "eps", config.classes, needs_labels=config.classes > 0, learned_range=config.learned_range
    )
    custom = "the custom of improved-diffusion" if cosine else "the custom of guided-diffusion"
    facts = (
        Fact(
            "network", f"U-Net of improved-diffusion / ADM, {config.channels} x {list(config.multipliers)}", str(source)
        ),
        Fact("weights", f"{sum(tensor.numel() for tensor in weights.values()):,} numbers", str(source)),
        Fact("images", str(data), "the size is that of --data or --size" if size else "the size is assumed"),
        Fact("classes", str(config.classes or "none"), "label_emb"),
        Fact("learned variance", "yes" if config.learned_range else "no", "out.2.weight"),
        Fact("prediction", "eps", custom),
        Fact("schedule", f"{'cosine' if cosine else 'linear'}, T={T}", custom),
        Fact("times", "0..1000 for any T" if T != 1000 else "0..T-1", custom),
        Fact("range", "[-1, 1]", custom),
    )
    return Foreign("openai", source, Meaning(config, reading), weights, facts, _open(config), scheduled)


@dataclass
class _Shape:
    """What the weights say."""

    image_channels: int
    channels: int
    out_channels: int
    classes: int
    scale_shift: bool
    blocks: int = 0
    blocks_resample: bool = False
    widths: list[int] = field(default_factory=list)
    attention: list[int] = field(default_factory=list)


def _shape(weights: Mapping[str, Tensor]) -> _Shape:
    embedded = weights["middle_block.0.emb_layers.1.weight"].shape[0]
    found = _Shape(
        image_channels=weights[FIRST].shape[1],
        channels=weights["time_embed.0.weight"].shape[1],
        out_channels=weights["out.2.weight"].shape[0],
        classes=weights["label_emb.weight"].shape[0] if "label_emb.weight" in weights else 0,
        scale_shift=embedded == 2 * weights["middle_block.0.out_layers.3.weight"].shape[0],
    )
    stages = _stages(weights, "output_blocks")
    levels: list[list[int]] = [[]]
    for number in range(len(stages)):
        levels[-1].append(number)
        last = max(stages[number])
        grows = last > 0 and any(
            f"output_blocks.{number}.{last}.{part}" in weights for part in ("conv.weight", "in_layers.2.weight")
        )
        if grows:
            found.blocks_resample |= f"output_blocks.{number}.{last}.in_layers.2.weight" in weights
            levels.append([])
    found.blocks = len(levels[0]) - 1
    if any(len(level) != found.blocks + 1 for level in levels):
        raise ValueError(f"levels of {[len(level) for level in levels]} blocks")
    for depth, level in enumerate(reversed(levels)):
        first = f"output_blocks.{level[0]}"
        found.widths.append(weights[f"{first}.0.out_layers.3.weight"].shape[0])
        if f"{first}.1.qkv.weight" in weights:
            found.attention.append(depth)
    return found


def _stages(weights: Mapping[str, Tensor], part: str) -> dict[int, set[int]]:
    stages: dict[int, set[int]] = {}
    for name in weights:
        match = re.match(rf"{part}\.(\d+)\.(\d+)\.", name)
        if match:
            stages.setdefault(int(match[1]), set()).add(int(match[2]))
    if sorted(stages) != list(range(len(stages))) or not stages:
        raise ValueError(f"{part} {sorted(stages)}")
    return stages


def _config(shape: _Shape, height: int, width: int) -> UNetConfig:
    if any(wide % shape.channels for wide in shape.widths):
        raise ValueError(f"widths {shape.widths} of {shape.channels} channels")
    if shape.out_channels not in (shape.image_channels, 2 * shape.image_channels):
        raise ValueError(f"{shape.out_channels} outputs for {shape.image_channels} channels")
    wide = shape.blocks_resample or shape.channels >= 192
    return UNetConfig(
        image_channels=shape.image_channels,
        height=height,
        width=width,
        channels=shape.channels,
        multipliers=tuple(width // shape.channels for width in shape.widths),
        blocks=shape.blocks,
        attention=tuple(min(height, width) >> depth for depth in shape.attention),
        dropout=0.0,
        scale_shift=shape.scale_shift,
        classes=shape.classes,
        head_width=64 if wide and all(w % 64 == 0 for w in shape.widths) else 0,
        heads=4 if shape.widths[-1] % 4 == 0 else 1,
        blocks_resample=shape.blocks_resample,
        learned_range=shape.out_channels == 2 * shape.image_channels,
    )


def _open(config: UNetConfig) -> tuple[Variation, ...]:
    """The readings that the family allows, what is assumed first."""
    widths = [config.channels * config.multipliers[-1], *(config.channels * m for m in config.multipliers)]
    stated = f"{config.head_width} wide" if config.head_width else _heads_word(config.heads)
    heads: dict[str, Change] = {stated: as_it_is}
    for number in (4, 1, 8):
        if all(width % number == 0 for width in widths):
            heads.setdefault(_heads_word(number), _network(heads=number, head_width=0))
    for width in (64, 32):
        if all(wide % width == 0 for wide in widths):
            heads.setdefault(f"{width} wide", _network(head_width=width))
    order: dict[str, Change] = {"heads first": as_it_is, "q, k, v first": _network(qkv_apart=True)}
    schedules: dict[str, Change] = {"as assumed": as_it_is}
    for name, T in (("cosine", 4000), ("cosine", 1000), ("linear", 1000), ("linear", 4000)):
        schedules[f"{name}, T={T}"] = _scheduled(name, T)
    return (
        predictions(),
        Variation("schedule", schedules),
        times("0..1000 for any T", "0..T-1", "1..T", "1..T, then * 1000 / T"),
        Variation("heads", heads),
        Variation("order of q, k, v", order),
    )


def _heads_word(number: int) -> str:
    return "one head" if number == 1 else f"{number} heads"


def _network(**fields: int | bool) -> Change:
    def change(meaning: Meaning) -> Meaning:
        assert isinstance(meaning.network, UNetConfig)
        return replace(meaning, network=replace(meaning.network, **fields))  # type: ignore[arg-type]

    return change


def scheduled(meaning: Meaning, name: str, T: int) -> Meaning:
    """The meaning under another schedule: linear is stretched by 1000 / T, and times go on spanning a thousand."""
    reading = meaning.reading
    schedule = NoiseSchedule.linear(T) if name == "linear" else named_schedule(name, T)
    time = TimeConvention(reading.time.offset, 1000 / T)
    return replace(meaning, reading=replace(reading, schedule=schedule, time=time))


def _scheduled(name: str, T: int) -> Change:
    return lambda meaning: scheduled(meaning, name, T)
