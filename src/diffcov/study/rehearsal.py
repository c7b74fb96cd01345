"""What a training would cost, from a few iterations of it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch

from diffcov.data import DataDescription, Examples
from diffcov.engines.training.batches import NoisyBatches
from diffcov.engines.training.config import Budget
from diffcov.engines.training.loop import Callbacks, Intervals, train
from diffcov.engines.training.presets import PRESETS
from diffcov.engines.training.session import Session
from diffcov.errors import InputError
from diffcov.nets.variance_head import parameter_count
from diffcov.runtime import peak_memory
from diffcov.study.settings import mean_settings, mean_spec, training_config

__all__ = ["Rehearsal", "refuse_large_images", "rehearse"]

MEASURED = 3
"""Iterations that are timed, after one that is not."""
SLOW = 20.0
"""Seconds of the first iteration above which it is the only one."""
FEW_ITERATIONS = 1000
"""Below so many a network has hardly begun, unless its preset says that fewer do."""
LARGEST_SIDE = 64
"""Pixels; larger images have to be asked for on a CPU."""


@dataclass(frozen=True)
class Rehearsal:
    """What a few iterations of a training say of it.

    Attributes:
        parameters: of the network.
        memory: the most that the process (on a GPU: the device) has held, in bytes.
        seconds: an iteration, the median of those timed.
        timed: how many were.
        iterations: that the budget buys, those of before included.
        images_seen: batch size times that.
        epochs: how often each image is seen.
    """

    parameters: int
    memory: int
    seconds: float
    timed: int
    iterations: int
    images_seen: int
    epochs: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values, under names that say their units."""
        return {
            "parameters": self.parameters,
            "memory_bytes": self.memory,
            "seconds_per_iteration": self.seconds,
            "timed_iterations": self.timed,
            "budget_buys_iterations": self.iterations,
            "images_seen": self.images_seen,
            "epochs": self.epochs,
        }

    def __str__(self) -> str:
        hours = self.iterations * self.seconds / 3600
        took = f"{60 * hours:.0f} minutes" if hours < 3 else f"{hours:,.0f} hours"
        return (
            f"{self.parameters / 1e6:.2f} M parameters, {self.memory / 1e9:.1f} GB, {self.seconds:.2g} s an iteration "
            f"(median of {self.timed}): {self.iterations:,} iterations in {took}, {self.images_seen:,} images seen, "
            f"each {self.epochs:.2g} times"
        )

    def warning(self, usual: int) -> str | None:
        """What is to be said of a budget below ``usual`` iterations; None for one that is long enough."""
        if self.iterations >= min(FEW_ITERATIONS, usual):
            return None
        return (
            f"{self.iterations:,} iterations are few: below about {FEW_ITERATIONS:,} samples show little; give more "
            "--minutes or --iterations, or make an iteration cheaper with --size, --channels or --batch-size"
        )


def rehearse(session: Session, batches: NoisyBatches, budget: Budget, accumulate: int = 1) -> Rehearsal:
    """Train a few iterations and throw them away.

    Args:
        session: changed in place; nothing is saved.
        batches: of the training.
        budget: of the training.
        accumulate: as for the training.
    """
    before, seconds = session.iteration, session.seconds
    marks = [time.monotonic()]

    def step(_iteration: int) -> None:
        if session.device.type == "cuda":
            torch.cuda.synchronize(session.device)
        marks.append(time.monotonic())

    def enough() -> bool:
        return len(marks) == 2 and marks[1] - marks[0] > SLOW

    few = Budget(before + 1 + MEASURED)
    quiet = Intervals(1 << 30, float("inf"))
    train(session, batches, few, Callbacks(on_step=step, should_stop=enough), quiet, accumulate)
    took = [after - start for start, after in pairwise(marks)]
    timed = took[1:] or took
    each = statistics.median(timed)
    total = _bought(budget, before, seconds, each)
    seen = total * batches.batch_size
    return Rehearsal(
        parameter_count(session.objective.module), _memory(session.device), each, len(timed), total, seen,
        seen / len(batches.examples),
    )  # fmt: skip


def _bought(budget: Budget, iteration: int, spent: float, each: float) -> int:
    if budget.minutes is None:
        assert budget.iterations is not None
        return budget.iterations
    by_time = iteration + max(0, int((60 * budget.minutes - spent) / each))
    return by_time if budget.iterations is None else min(by_time, budget.iterations)


def _memory(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_memory()


def refuse_large_images(
    settings: Mapping[str, Any],
    wanted: Mapping[str, Any],
    data: DataDescription,
    device: torch.device,
    session_of: Callable[..., Session],
) -> None:
    """Refuse (InputError, naming the cost) images of more than 64 pixels a side on a CPU that nobody asked for.

    The cost is that of one image of 64 x 64 through the same network, times pixels and batch size.

    Args:
        settings: of the training; a size among them has been asked for.
        wanted: those of them that were given.
        data: the images.
        device: where the training will be.
        session_of: (spec, config, device) -> a session with fresh weights.
    """
    if device.type != "cpu" or settings["size"] is not None or max(data.height, data.width) <= LARGEST_SIDE:
        return
    small = DataDescription(data.channels, LARGEST_SIDE, LARGEST_SIDE, data.levels)
    free = {name: value for name, value in wanted.items() if name != "attention"}
    alike = mean_settings({**free, "data": settings["data"], "preset": settings["preset"]}, small, gpu=False)
    spec, config = mean_spec(alike, small), replace(training_config(alike), batch_size=1)
    session = session_of(spec, config, device)
    labels = torch.zeros(1, dtype=torch.int64) if spec.reading.classes else None
    black = Examples(torch.zeros(1, *small.shape, dtype=torch.uint8), labels)
    batches = NoisyBatches(black, small, spec.reading.schedule, 1, False, config.seed)
    one = rehearse(session, batches, Budget(1))
    batch = settings["batch_size"]
    seconds = one.seconds * batch * data.height * data.width / LARGEST_SIDE**2
    iterations = PRESETS[settings["preset"]].iterations
    own = min(data.height, data.width)
    whole = (
        f"--size {own} if you mean that" if data.height == data.width else f"--size {own} for their middles as they are"
    )
    raise InputError(
        f"images of {data.height}x{data.width} are large for a CPU: about {seconds:.2g} s an iteration of {batch} "
        f"images ({one.parameters / 1e6:.1f} M parameters), {iterations * seconds / 3600:,.0f} hours for the "
        f"{iterations:,} iterations of the preset {settings['preset']}; shrink them with --size 32, or say {whole}"
    )
