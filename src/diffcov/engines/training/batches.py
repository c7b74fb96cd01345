"""Noisy training batches: which images, which times, which noise, each a function of (seed, iteration) alone.

Because no generator lives longer than one iteration, a training that resumes at iteration n sees exactly what it
would have seen, and the only "data position" to save is n.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from diffcov.data import UNLABELLED, DataDescription, ExampleSet
from diffcov.diffusion.level import q_sample
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.training.ahead import Ahead
from diffcov.noise import generator, key
from diffcov.processes.base import current
from diffcov.transfer import sent

__all__ = ["Batch", "NoisyBatches"]


@dataclass(frozen=True)
class Batch:
    """One training batch, or the rows of it that a process has, or some of those.

    Attributes:
        x_0: (B, C, H, W) float32, the images.
        x_t: (B, C, H, W) float32.
        t: (B,) int64 in 1..T.
        eps: (B, C, H, W) float32, the noise in x_t.
        labels: (B,) int64, below 0 where the class is not told; None for images without classes.
        signs: draws (B, C, H, W) float32 of -1 and 1, each with probability 1/2; the same at every call.
        whole: images of the whole batch.
        first: number of the first of these rows in it.
    """

    x_0: Tensor
    x_t: Tensor
    t: Tensor
    eps: Tensor
    labels: Tensor | None
    signs: Callable[[], Tensor]
    whole: int
    first: int

    def cut(self, parts: int) -> list[Batch]:
        """The same rows in so many parts, as even as can be; fewer where there are fewer rows."""
        ends = [len(self.t) * k // parts for k in range(parts + 1)]
        return [self] if parts == 1 else [self._rows(slice(a, b)) for a, b in pairwise(ends) if a < b]

    def _rows(self, rows: slice) -> Batch:
        labels = None if self.labels is None else self.labels[rows]
        return Batch(
            self.x_0[rows], self.x_t[rows], self.t[rows], self.eps[rows], labels, lambda: self.signs()[rows],
            self.whole, self.first + rows.start,
        )  # fmt: skip


class NoisyBatches:
    """All batches of a training; ``batches.at(n)`` is iteration n's, or what this process has of it.

    Each process has as many rows of a batch as the others, give or take one. Its random numbers are drawn for the whole
    batch, so that a row is the same however many processes there are.

    Every image is used once an epoch, in an order of its own. Times are B equally spaced points, shifted together by a
    uniform amount around the circle 1..T: each t_b alone is uniform on 1..T, and a batch covers all noise levels (the
    low-discrepancy sampler of arXiv 2107.00630).

    Args:
        examples: on the device that trains, or on disk and read ahead; their labels go into the batches.
        data: the images' description.
        schedule: the noise schedule.
        batch_size: B.
        flip: mirror with probability 1/2.
        seed: the training's seed.
        label_dropout: probability with which an image's label is not told.
    """

    def __init__(
        self,
        examples: ExampleSet,
        data: DataDescription,
        schedule: NoiseSchedule,
        batch_size: int,
        flip: bool,
        seed: int,
        label_dropout: float = 0.0,
    ) -> None:
        self.examples = examples
        self.data = data
        self.schedule = schedule
        self.batch_size = batch_size
        self.flip = flip
        self.seed = seed
        self.label_dropout = label_dropout
        own = current().share(batch_size)
        self.rows = slice(own.start, own.stop)
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.int64)
        self._ahead = None if examples.in_memory else Ahead(examples, self._own_indices)

    def at(self, iteration: int) -> Batch:
        """The rows that this process has of the batch of iteration ``iteration`` (0-based)."""
        device, rows, shape = self.examples.device, self.rows, (self.batch_size, *self.data.shape)
        draw = torch.Generator(device).manual_seed(key(self.seed, "batch", iteration))
        chosen = self.examples[self._own_indices(iteration)] if self._ahead is None else self._ahead.at(iteration)
        x_0 = self.data.encode(chosen.images)
        if self.flip:
            mirrored = torch.rand(self.batch_size, 1, 1, 1, device=device, generator=draw) < 0.5
            x_0 = torch.where(mirrored[rows], x_0.flip(-1), x_0)
        t = sent(self._times(iteration)[rows], device)
        eps = torch.randn(shape, device=device, generator=draw)[rows]
        labels = self._told(chosen.labels, iteration)
        x_t = q_sample(self.schedule, x_0, t, eps)
        signs = partial(self._signs, iteration, shape)
        return Batch(x_0, x_t, t, eps, labels, signs, self.batch_size, rows.start)

    def _told(self, labels: Tensor | None, iteration: int) -> Tensor | None:
        """The labels, some of which are not told; their draws are their own, so that the images stay the same."""
        if labels is None or not self.label_dropout:
            return labels
        hidden = torch.rand(self.batch_size, generator=generator(self.seed, "labels", iteration)) < self.label_dropout
        return labels.masked_fill(sent(hidden[self.rows], labels.device), UNLABELLED)

    def _signs(self, iteration: int, shape: tuple[int, ...]) -> Tensor:
        device = self.examples.device
        draw = torch.Generator(device).manual_seed(key(self.seed, "signs", iteration))
        return torch.randint(0, 2, shape, device=device, generator=draw)[self.rows].mul_(2).sub_(1).float()

    def _times(self, iteration: int) -> Tensor:
        """(B,) int64 on the CPU, in 1..T."""
        shift = torch.rand(1, dtype=torch.float64, generator=generator(self.seed, "times", iteration))
        share = torch.arange(self.batch_size, dtype=torch.float64) / self.batch_size
        return 1 + ((share + shift) % 1 * self.schedule.T).long().clamp(max=self.schedule.T - 1)

    def _own_indices(self, iteration: int) -> Tensor:
        return self._indices(iteration)[self.rows]

    def _indices(self, iteration: int) -> Tensor:
        """(B,) int64 on the CPU: positions n B .. (n+1) B of the endless sequence of shuffled epochs."""
        count = len(self.examples)
        position, end = iteration * self.batch_size, (iteration + 1) * self.batch_size
        parts = []
        while position < end:
            epoch, offset = divmod(position, count)
            taken = self._shuffled(epoch)[offset : offset + end - position]
            parts.append(taken)
            position += len(taken)
        return torch.cat(parts)

    def _shuffled(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            self._order = torch.randperm(len(self.examples), generator=generator(self.seed, "epoch", epoch))
            self._epoch = epoch
        return self._order
