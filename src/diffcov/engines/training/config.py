"""Settings of a training, each default written once."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from diffcov.denoiser.mean_model import PRECISIONS
from diffcov.errors import UsageError

__all__ = ["Budget", "TrainingConfig"]


@dataclass(frozen=True)
class TrainingConfig:
    """How to train; the same words for the mean and for the heads.

    Args:
        batch_size: images an iteration.
        lr: learning rate of AdamW after the warm-up.
        warmup: iterations over which the learning rate rises from 0.
        weight_decay: of AdamW.
        clip_norm: largest norm of the gradient; 0 does not clip.
        ema_decay: largest decay of the weight average, in [0, 1).
        flip: mirror images left to right with probability 1/2.
        precision: of the network's inside, "fp32" or "bf16".
        seed: of initial weights, data order, times, noise and dropout.

    Raises:
        UsageError: a value outside its range.
    """

    batch_size: int = 128
    lr: float = 1e-4
    warmup: int = 0
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    ema_decay: float = 0.9999
    flip: bool = False
    precision: str = "fp32"
    seed: int = 0

    def __post_init__(self) -> None:
        _require("batch-size", self.batch_size, self.batch_size >= 1, "at least 1")
        _require("lr", self.lr, 0 < self.lr < math.inf, "a positive number")
        _require("warmup", self.warmup, self.warmup >= 0, "at least 0")
        _require("weight-decay", self.weight_decay, self.weight_decay >= 0, "at least 0")
        _require("clip-norm", self.clip_norm, self.clip_norm >= 0, "at least 0 (0 does not clip)")
        _require("ema-decay", self.ema_decay, 0 <= self.ema_decay < 1, "in [0, 1)")
        _require("precision", self.precision, self.precision in PRECISIONS, f"one of {', '.join(PRECISIONS)}")

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain values, for metadata."""
        return asdict(self)


@dataclass(frozen=True)
class Budget:
    """When to stop: whichever comes first. May change between a run and its resumption.

    Args:
        iterations: total number of iterations, or None.
        minutes: total training time, earlier parts of a resumed training included, or None.

    Raises:
        UsageError: neither, or one that is not positive.
    """

    iterations: int | None
    minutes: float | None = None

    def __post_init__(self) -> None:
        if self.iterations is None and self.minutes is None:
            raise UsageError("a training needs --iterations or --minutes")
        _require("iterations", self.iterations, self.iterations is None or self.iterations >= 1, "at least 1")
        _require("minutes", self.minutes, self.minutes is None or 0 < self.minutes < math.inf, "above 0")

    @classmethod
    def asked(cls, iterations: int | None, minutes: float | None) -> Budget | None:
        """The budget given by options, or None if neither was."""
        return None if iterations is None and minutes is None else cls(iterations, minutes)

    def spent(self, iteration: int, seconds: float) -> bool:
        """Whether to stop before iteration number ``iteration`` (0-based)."""
        out_of_iterations = self.iterations is not None and iteration >= self.iterations
        return out_of_iterations or (self.minutes is not None and seconds >= 60 * self.minutes)

    def expected_iterations(self, iteration: int, seconds: float) -> int | None:
        """Where the training will end if it goes on at its present rate; None if that is not known yet."""
        if self.minutes is None or seconds <= 0:
            return self.iterations
        by_time = max(iteration, round(iteration * 60 * self.minutes / seconds))
        return by_time if self.iterations is None else min(by_time, self.iterations)


def _require(option: str, value: object, holds: bool, expected: str) -> None:
    if not holds:
        raise UsageError(f"--{option} must be {expected}, found {value}")
