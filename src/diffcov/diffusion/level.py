"""One noise level of a schedule, or one an image: the two numbers that mix data and noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from diffcov.diffusion.schedule import NoiseSchedule

__all__ = ["Level", "q_sample"]


@dataclass(frozen=True)
class Level:
    """q(x_t | x_0) = N(signal x_0, noise^2 I).

    Attributes:
        signal: sqrt(alpha_bar_t), a number, or (B, 1, 1, 1) for images at different times.
        noise: sqrt(beta_bar_t), likewise.
    """

    signal: float | Tensor
    noise: float | Tensor

    @classmethod
    def at(cls, schedule: NoiseSchedule, t: int | Tensor, like: Tensor) -> Level:
        """The level at one time, or at a (B,) tensor of times in 0..T in the dtype and on the device of ``like``."""
        if not isinstance(t, Tensor):
            return cls(math.sqrt(schedule.alpha_bar[t]), math.sqrt(schedule.beta_bar[t]))
        return cls(*(_picked(roots, t, like) for roots in _roots(schedule, like.dtype, like.device)))


def q_sample(schedule: NoiseSchedule, x_0: Tensor, t: int | Tensor, eps: Tensor) -> Tensor:
    """x_t = sqrt(alpha_bar_t) x_0 + sqrt(beta_bar_t) eps; t is one time or a (B,) tensor of times in 0..T."""
    level = Level.at(schedule, t, x_0)
    return level.signal * x_0 + level.noise * eps


@lru_cache(maxsize=32)
def _roots(schedule: NoiseSchedule, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """sqrt(alpha_bar) and sqrt(beta_bar), (T+1,), where they are needed: sent there once and not at every look."""
    with torch.inference_mode(False):  # what was made while sampling would be refused by autograd
        both = schedule.alpha_bar.sqrt(), schedule.beta_bar.sqrt()
        return both[0].to(dtype).to(device), both[1].to(dtype).to(device)


def _picked(values: Tensor, t: Tensor, like: Tensor) -> Tensor:
    """values[t] shaped (B, 1, 1, ...) to multiply ``like``."""
    found = values[t.to(like.device)]
    return found.reshape(found.shape + (1,) * (like.dim() - found.dim()))
