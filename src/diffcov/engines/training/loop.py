"""The training loop: one step, many times; everything else is told to it from outside."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from diffcov.engines.training.averages import BUCKETS, Averages, LogRecord
from diffcov.engines.training.batches import Batch, NoisyBatches
from diffcov.engines.training.config import Budget
from diffcov.engines.training.session import Session
from diffcov.errors import UsageError
from diffcov.noise import key
from diffcov.processes.base import current

__all__ = ["Callbacks", "Intervals", "require_enough", "train"]


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


def train(
    session: Session,
    batches: NoisyBatches,
    budget: Budget,
    callbacks: Callbacks,
    intervals: Intervals,
    accumulate: int = 1,
) -> bool:
    """Train until the budget is spent, the session's own end or the caller's wish to stop; saves at the end of any.

    All randomness of iteration n (batch, noise, dropout) depends on (seed, n), so a session that was restored at n
    goes on as if it had never stopped: bit for bit on a CPU with the same number of threads, and up to the device's
    own rounding on a GPU.

    Several processes take a part of each batch and sum their gradients, so that all make the same step: their number
    changes the order of a sum and, where there is dropout, which units are dropped, and nothing else. Gradients are
    summed at once when they are complete, not on the way as by DistributedDataParallel, which looks at the call of one
    module, while several heads are called in turn and some rest; the sum of 1.7 M takes 6 ms between two processors.

    Args:
        session: what is trained; changed in place.
        batches: its data.
        budget: when to stop.
        callbacks: what to tell.
        intervals: how often.
        accumulate: parts in which a process takes its part of a batch one after the other, to save memory.

    Returns:
        Whether the training is over; False if ``should_stop`` ended it.

    Raises:
        NonFiniteError: a loss or gradient that is no number; nothing is saved after the last good state.
        UsageError: batches that cannot be cut into so many parts.
        ProcessLost: another process is gone. The session is as it was after its last whole iteration.
    """
    require_enough(batches.batch_size, accumulate)
    devices = [session.device] if session.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        return _train(session, batches, budget, callbacks, intervals, accumulate)


def require_enough(batch_size: int, accumulate: int) -> None:
    """Refuse (UsageError) batches of fewer images than parts into which processes cut them."""
    size = current().size
    if accumulate < 1 or batch_size < size * accumulate:
        into = f"{size} processes and " if size > 1 else ""
        raise UsageError(
            f"a batch of {batch_size} images cannot be cut into {into}--accumulate {accumulate} parts; give a larger "
            "--batch-size, or fewer of them"
        )


def _train(
    session: Session, batches: NoisyBatches, budget: Budget, callbacks: Callbacks, intervals: Intervals, accumulate: int
) -> bool:
    averages = Averages(session.device, batches.schedule.T)
    before, started = session.seconds, time.monotonic()
    saved = previewed = session.seconds
    lr = 0.0
    if session.due:
        _evaluate(session, callbacks)
    _, stop = _agreed(0.0, callbacks)
    while not (finished := session.over(budget)) and not stop:
        lr = session.config.lr * min(1.0, (session.iteration + 1) / max(1, session.config.warmup))
        session.optimizer.zero_grad(set_to_none=True)
        for batch in batches.at(session.iteration).cut(accumulate):
            averages.add(_losses(session, batch), (batch.t - 1) * BUCKETS // batches.schedule.T)
        averages.step(_step(session, lr))
        session.iteration += 1
        session.seconds = before + time.monotonic() - started
        callbacks.on_step(session.iteration)
        session.seconds, stop = _agreed(session.seconds, callbacks)

        save = session.seconds - saved >= intervals.save_seconds
        preview = session.seconds - previewed >= intervals.preview_seconds
        if session.iteration % intervals.log_every == 0 or save or preview or session.due:
            callbacks.on_log(averages.record(session, lr))
            averages = Averages(session.device, batches.schedule.T)
        if session.due:
            _evaluate(session, callbacks)
            session.seconds, stop = _agreed(before + time.monotonic() - started, callbacks)
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


def _agreed(seconds: float, callbacks: Callbacks) -> tuple[float, bool]:
    """(training time by the clock of the first process, whether anybody wants to stop)."""
    ours, stop = current(), callbacks.should_stop()
    if ours.size == 1:
        return seconds, stop
    told = torch.tensor([seconds * ours.first, stop], dtype=torch.float64)
    ours.summed([told])
    return float(told[0]), bool(told[1])


def _losses(session: Session, batch: Batch) -> Mapping[str, Tensor]:
    """The losses of some rows of a batch; their share of the gradient is added to it.

    What is dropped follows from where the rows begin, so that rows of one batch drop different units.
    """
    where = (batch.first,) if batch.first else ()
    torch.manual_seed(key(session.config.seed, "step", session.iteration, *where))
    losses = session.objective.losses(batch)
    total = torch.stack([loss.sum() / batch.whole for loss in losses.values()]).sum()
    total.backward()  # type: ignore[no-untyped-call]
    return losses


def _step(session: Session, lr: float) -> Tensor:
    """One optimiser step on the sum of the mean losses; returns the gradient's norm before clipping."""
    for group in session.optimizer.param_groups:
        group["lr"] = lr
    current().summed([p.grad for p in session.parameters if p.grad is not None])
    limit = session.config.clip_norm or math.inf
    norms = [torch.nn.utils.clip_grad_norm_(group, limit) for group in session.groups]
    session.optimizer.step()
    session.ema.update(session.objective.module)
    return torch.stack(norms).square().sum().sqrt()
