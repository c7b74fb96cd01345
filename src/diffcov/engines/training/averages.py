"""What a training says of itself: averages over an interval, kept on the device until somebody reads them."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from diffcov.engines.training.session import Session
from diffcov.errors import NonFiniteError
from diffcov.processes.base import current

__all__ = ["BUCKETS", "Averages", "LogRecord"]

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


class Averages:
    """Sums kept on the device, read once an interval: no synchronisation in the hot loop."""

    def __init__(self, device: torch.device, T: int) -> None:
        self.device, self.T = device, T
        self.sums: dict[str, Tensor] = {}
        self.counts = torch.zeros(BUCKETS, dtype=torch.float64, device=device)
        self.grad_norm = torch.zeros((), dtype=torch.float64, device=device)
        self.steps = 0
        self.broken_at = torch.zeros((), dtype=torch.int64, device=device)
        self.broken = torch.zeros(BUCKETS, dtype=torch.bool, device=device)
        self.started = time.monotonic()

    def add(self, losses: Mapping[str, Tensor], bucket: Tensor) -> None:
        """Add the losses of some images."""
        for name, loss in losses.items():
            if name not in self.sums:
                self.sums[name] = torch.zeros_like(self.counts)
            self.sums[name].index_add_(0, bucket, loss.detach().double())
        self.counts.index_add_(0, bucket, torch.ones_like(bucket, dtype=torch.float64))

    def step(self, grad_norm: Tensor) -> None:
        """Add one iteration, whose losses have been added."""
        self.grad_norm += grad_norm
        self.steps += 1
        newly = ~torch.isfinite(grad_norm) & (self.broken_at == 0)
        self.broken_at = torch.where(newly, self.steps, self.broken_at)
        self.broken = torch.where(newly, ~torch.isfinite(torch.stack([*self.sums.values()]).sum(0)), self.broken)

    def record(self, session: Session, lr: float) -> LogRecord:
        """Read the sums over all processes.

        Raises:
            NonFiniteError: a loss or a gradient was NaN or infinite since the last reading.
        """
        broken = self.broken.double()
        current().summed([*self.sums.values(), self.counts, broken])
        images = float(self.counts.sum())
        loss = sum(float(total.sum()) for total in self.sums.values()) / images
        grad_norm = float(self.grad_norm) / self.steps
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            raise NonFiniteError(f"{self._first(session.iteration, broken)} (loss {loss}, gradient {grad_norm})")
        by_t = {
            name: [s / c if c else None for s, c in zip(total.tolist(), self.counts.tolist(), strict=True)]
            for name, total in self.sums.items()
        }
        elapsed = max(time.monotonic() - self.started, 1e-9)
        return LogRecord(session.iteration, session.seconds, loss, by_t, grad_norm, lr, images / elapsed)

    def _first(self, iteration: int, broken: Tensor) -> str:
        """What stopped being a number, at which iteration and for which times: those of the buckets that are broken."""
        step, buckets = int(self.broken_at), broken.nonzero().flatten().tolist()
        if not step:
            return f"the loss became NaN or infinite by iteration {iteration}"
        at = f"became NaN or infinite at iteration {iteration - self.steps + step}"
        if not buckets:
            return f"the gradient {at}, with a loss that was a number"
        low, high = (-(-bucket * self.T // BUCKETS) for bucket in (buckets[0], buckets[-1] + 1))
        return f"the loss {at}, for t in {low + 1}..{high}"
