"""Noise schedules as other libraries' configurations state them, computed again in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import InputError

__all__ = ["named_schedule", "schedule_of_config", "zero_terminal_snr"]

DEFAULTS = {"num_train_timesteps": 1000, "beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}
"""Of diffusers' schedulers, where a configuration leaves them out."""


THEIRS = {"squaredcos_cap_v2": "cosine"}
"""Our name of a family that diffusers calls otherwise."""


def _even(start: float, end: float, T: int) -> Tensor:
    return torch.linspace(start, end, T, dtype=torch.float64)


BETAS: dict[str, Callable[[float, float, int], Tensor]] = {
    "linear": _even,
    "scaled_linear": lambda start, end, T: _even(math.sqrt(start), math.sqrt(end), T).square(),
    "sigmoid": lambda start, end, T: torch.sigmoid(_even(-6, 6, T)) * (end - start) + start,
}
"""Betas of the families that have two ends."""


def schedule_of_config(config: Mapping[str, Any]) -> NoiseSchedule:
    """The schedule of a ``scheduler_config.json``.

    Raises:
        InputError: a family that is not known, or numbers that are no schedule.
    """
    known = {**DEFAULTS, **config}
    T, family = int(known["num_train_timesteps"]), str(known["beta_schedule"])
    trained = known.get("trained_betas")
    if trained is not None:
        found = NoiseSchedule.from_betas(trained)
    else:
        found = named_schedule(THEIRS.get(family, family), T, float(known["beta_start"]), float(known["beta_end"]))
    return zero_terminal_snr(found) if known.get("rescale_betas_zero_snr") else found


def named_schedule(family: str, T: int, start: float = 1e-4, end: float = 0.02) -> NoiseSchedule:
    """A family with two ends for beta, which are not scaled by 1000 / T; or cosine.

    Raises:
        InputError: another family.
    """
    if family == "cosine":
        return NoiseSchedule.cosine(T)
    if family not in BETAS:
        raise InputError(
            f"the schedule {family} is not known; known are {', '.join(BETAS)} and squaredcos_cap_v2 (cosine)"
        )
    if family == "linear" and T == 1000:
        return NoiseSchedule.linear(T, start, end)
    return NoiseSchedule.from_betas(BETAS[family](start, end, T))


def zero_terminal_snr(schedule: NoiseSchedule) -> NoiseSchedule:
    """sqrt(alpha_bar) moved and stretched so that it ends at 0 and begins where it did.

    Source: arXiv 2305.08891, algorithm 1.
    """
    root = schedule.alpha_bar[1:].sqrt()
    moved = (root - root[-1]) * (root[0] / (root[0] - root[-1]))
    return NoiseSchedule.from_alpha_bar(moved.square())
