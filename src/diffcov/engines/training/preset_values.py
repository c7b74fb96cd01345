"""The numbers of the presets, and what help says of them. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["HEAD_VALUES", "VALUES", "preset_values", "value_text"]

VALUES: dict[str, Mapping[str, Any]] = {
    # Something to see after 20 minutes on two CPU cores: photographs of 16 to 64 pixels.
    "small": {
        "channels": 32, "multipliers": (1, 2, 2), "blocks": 1, "heads": 4, "dropout": 0.0, "attention_levels": (2,),
        "batch_size": 64, "lr": 2e-3, "warmup": 100, "weight_decay": 0.0, "clip_norm": 1.0, "ema_decay": 0.999,
        "flip": True, "iterations": 6000,
    },
    # Mean and heads together in about six minutes on two CPU cores.
    "digits": {
        "channels": 32, "multipliers": (1, 2), "blocks": 2, "heads": 4, "dropout": 0.0, "attention_levels": (1,),
        "batch_size": 128, "lr": 2e-3, "warmup": 100, "weight_decay": 0.0, "clip_norm": 1.0, "ema_decay": 0.999,
        "flip": False, "iterations": 900,
    },
    # An hour on two CPU cores, minutes on a GPU.
    "mnist": {
        "channels": 32, "multipliers": (1, 2, 2), "blocks": 1, "heads": 4, "dropout": 0.0, "attention_levels": (2,),
        "batch_size": 64, "lr": 1e-3, "warmup": 200, "weight_decay": 0.0, "clip_norm": 1.0, "ema_decay": 0.999,
        "flip": False, "iterations": 6000,
    },
    # The papers' (arXiv 2102.09672 and 2206.07309), for a GPU.
    "cifar10": {
        "channels": 128, "multipliers": (1, 2, 2, 2), "blocks": 3, "heads": 4, "dropout": 0.3,
        "attention_levels": (1, 2), "batch_size": 128, "lr": 1e-4, "warmup": 0, "weight_decay": 0.0, "clip_norm": 1.0,
        "ema_decay": 0.9999, "flip": True, "iterations": 500_000,
    },
}  # fmt: skip
"""By preset: of the network, of how it is trained, and how long."""
HEAD_VALUES: Mapping[str, Any] = {
    "batch_size": 128, "lr": 5e-3, "warmup": 50, "weight_decay": 0.0, "clip_norm": 1.0, "ema_decay": 0.999,
}  # fmt: skip
"""How heads are fitted on any mean."""


def value_text(value: Any) -> str:
    """A value as it is typed, or for yes and no as a word."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ",".join(map(str, value)) if isinstance(value, tuple) else f"{value:g}"


def preset_values(name: str) -> str:
    """What help says of one number: its value, or each value with the presets that have it."""
    presets: dict[str, list[str]] = {}
    for preset, values in VALUES.items():
        presets.setdefault(value_text(values[name]), []).append(preset)
    if len(presets) == 1:
        return next(iter(presets))
    return "; ".join(f"{value} in {', '.join(having)}" for value, having in presets.items())
