"""The training loop: one step, many times; everything else is told to it from outside."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from diffcov.engines.training.batches import NoisyBatches
from diffcov.engines.training.config import Budget
from diffcov.engines.training.session import Session
from diffcov.errors import NonFiniteError
from diffcov.noise import key

__all__ = ["BUCKETS", "Callbacks", "Intervals", "LogRecord", "train"]

BUCKETS = 10
"""Losses are logged in this many equal parts of 1..T: they differ by orders of magnitude over t."""


@dataclass(frozen=True)
class LogRecord:
    """Averages since the last record.

    Attributes:
        iteration: iterations done.
        seconds: training time so far.
        loss: what was minimised.
        loss_by_t: per loss name, its mean in each of :data:`BUCKETS` parts of 1..T (None where no t fell).
        grad_norm: norm of the gradient before clipping.
        lr: learning rate of the last step.
        images_per_second: of this interval.
    """

    iteration: int
    seconds: float
    loss: float
    loss_by_t: dict[str, list[float | None]]
    grad_norm: float
    lr: float
    images_per_second: float


@dataclass(frozen=True)
class Intervals:
    """How often to speak.

    Args:
        log_every: iterations between log records.
        save_seconds: training time between saves.
        preview_seconds: training time between previews.
    """

    log_every: int
    save_seconds: float
    preview_seconds: float = math.inf


@dataclass(frozen=True)
class Callbacks:
    """What the caller wants to hear. Saving and logging never touch the random numbers of the training."""

    on_step: Callable[[int], None] = field(default=lambda iteration: None)
    on_log: Callable[[LogRecord], None] = field(default=lambda record: None)
    on_evaluation: Callable[[Any], None] = field(default=lambda found: None)
    on_save: Callable[[Session], None] = field(default=lambda session: None)
    on_preview: Callable[[Session], None] = field(default=lambda session: None)
    should_stop: Callable[[], bool] = field(default=lambda: False)


class Averages:
    """Sums kept on the device, read once an interval: no synchronisation in the hot loop."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.sums: dict[str, Tensor] = {}
        self.counts = torch.zeros(BUCKETS, dtype=torch.float64, device=device)
        self.grad_norm = torch.zeros((), dtype=torch.float64, device=device)
        self.steps = 0
        self.started = time.monotonic()

    def add(self, losses: Mapping[str, Tensor], bucket: Tensor, grad_norm: Tensor) -> None:
        """Add one iteration."""
        for name, loss in losses.items():
            if name not in self.sums:
                self.sums[name] = torch.zeros_like(self.counts)
            self.sums[name].index_add_(0, bucket, loss.detach().double())
        self.counts.index_add_(0, bucket, torch.ones_like(bucket, dtype=torch.float64))
        self.grad_norm += grad_norm
        self.steps += 1

    def record(self, session: Session, lr: float) -> LogRecord:
        """Read the sums.

        Raises:
            NonFiniteError: a loss or a gradient was NaN or infinite since the last reading.
        """
        images = float(self.counts.sum())
        loss = sum(float(total.sum()) for total in self.sums.values()) / images
        grad_norm = float(self.grad_norm) / self.steps
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            raise NonFiniteError(
                f"the loss or its gradient became NaN or infinite by iteration {session.iteration} "
                f"(loss {loss}, gradient {grad_norm})"
            )
        by_t = {
            name: [s / c if c else None for s, c in zip(total.tolist(), self.counts.tolist(), strict=True)]
            for name, total in self.sums.items()
        }
        elapsed = max(time.monotonic() - self.started, 1e-9)
        return LogRecord(session.iteration, session.seconds, loss, by_t, grad_norm, lr, images / elapsed)


def train(session: Session, batches: NoisyBatches, budget: Budget, callbacks: Callbacks, intervals: Intervals) -> bool:
    """Train until the budget is spent, the session's own end or the caller's wish to stop; saves at the end of any.

    All randomness of iteration n (batch, noise, dropout) depends on (seed, n), so a session that was restored at n
    goes on as if it had never stopped: bit for bit on a CPU with the same number of threads, and up to the device's
    own rounding on a GPU.

    Args:
        session: what is trained; changed in place.
        batches: its data.
        budget: when to stop.
        callbacks: what to tell.
        intervals: how often.

    Returns:
        Whether the training is over; False if ``should_stop`` ended it.

    Raises:
        NonFiniteError: a loss or gradient that is no number; nothing is saved after the last good state.
    """
    devices = [session.device] if session.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        return _train(session, batches, budget, callbacks, intervals)


def _train(session: Session, batches: NoisyBatches, budget: Budget, callbacks: Callbacks, intervals: Intervals) -> bool:
    averages = Averages(session.device)
    before, started = session.seconds, time.monotonic()
    saved = previewed = session.seconds
    lr = 0.0
    if session.due:
        _evaluate(session, callbacks)
    while not (finished := session.over(budget)) and not callbacks.should_stop():
        torch.manual_seed(key(session.config.seed, "step", session.iteration))
        lr = session.config.lr * min(1.0, (session.iteration + 1) / max(1, session.config.warmup))
        batch = batches.at(session.iteration)
        losses = session.objective.losses(batch)
        grad_norm = _step(session, losses, lr)
        averages.add(losses, (batch.t - 1) * BUCKETS // batches.schedule.T, grad_norm)
        session.iteration += 1
        session.seconds = before + time.monotonic() - started
        callbacks.on_step(session.iteration)

        save = session.seconds - saved >= intervals.save_seconds
        preview = session.seconds - previewed >= intervals.preview_seconds
        if session.iteration % intervals.log_every == 0 or save or preview or session.due:
            callbacks.on_log(averages.record(session, lr))
            averages = Averages(session.device)
        if session.due:
            _evaluate(session, callbacks)
            session.seconds = before + time.monotonic() - started
        if save:
            session.require_finite()
            callbacks.on_save(session)
            saved = session.seconds
        if preview:
            callbacks.on_preview(session)
            previewed = session.seconds
    if averages.steps:
        callbacks.on_log(averages.record(session, lr))
    session.require_finite()
    callbacks.on_save(session)
    return finished


def _evaluate(session: Session, callbacks: Callbacks) -> None:
    """Judge the average."""
    assert session.stopping is not None
    callbacks.on_evaluation(session.stopping.evaluate(session.iteration, session.ema.module))


def _step(session: Session, losses: Mapping[str, Tensor], lr: float) -> Tensor:
    """One optimiser step on the sum of the mean losses; returns the gradient's norm before clipping."""
    for group in session.optimizer.param_groups:
        group["lr"] = lr
    session.optimizer.zero_grad(set_to_none=True)
    total = torch.stack([loss.mean() for loss in losses.values()]).sum()
    total.backward()  # type: ignore[no-untyped-call]
    limit = session.config.clip_norm or math.inf
    norms = [torch.nn.utils.clip_grad_norm_(group, limit) for group in session.groups]
    session.optimizer.step()
    session.ema.update(session.objective.module)
    return torch.stack(norms).square().sum().sqrt()
