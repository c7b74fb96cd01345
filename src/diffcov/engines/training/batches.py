"""Noisy training batches: which images, which times, which noise, each a function of (seed, iteration) alone.

Because no generator lives longer than one iteration, a training that resumes at iteration n sees exactly what it
would have seen, and the only "data position" to save is n.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from diffcov.data import DataDescription
from diffcov.diffusion.process import q_sample
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.noise import generator, key

__all__ = ["Batch", "NoisyBatches"]


@dataclass(frozen=True)
class Batch:
    """One training batch.

    Attributes:
        x_t: (B, C, H, W) float32.
        t: (B,) int64 in 1..T.
        eps: (B, C, H, W) float32, the noise in x_t.
        signs: draws (B, C, H, W) float32 of -1 and 1, each with probability 1/2; the same at every call.
    """

    x_t: Tensor
    t: Tensor
    eps: Tensor
    signs: Callable[[], Tensor]


class NoisyBatches:
    """All batches of a training; ``batches.at(n)`` is iteration n's.

    Every image is used once an epoch, in an order of its own. Times are B equally spaced points, shifted together by a
    uniform amount around the circle 1..T: each t_b alone is uniform on 1..T, and a batch covers all noise levels (the
    low-discrepancy sampler of arXiv 2107.00630).

    Args:
        images: (N, C, H, W) uint8 on the device that trains.
        data: their description.
        schedule: the noise schedule.
        batch_size: B.
        flip: mirror with probability 1/2.
        seed: the training's seed.
    """

    def __init__(
        self, images: Tensor, data: DataDescription, schedule: NoiseSchedule, batch_size: int, flip: bool, seed: int
    ) -> None:
        self.images = images
        self.data = data
        self.schedule = schedule
        self.batch_size = batch_size
        self.flip = flip
        self.seed = seed
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.int64)

    def at(self, iteration: int) -> Batch:
        """The batch of iteration ``iteration`` (0-based)."""
        device = self.images.device
        draw = torch.Generator(device).manual_seed(key(self.seed, "batch", iteration))
        x_0 = self.data.encode(self.images[self._indices(iteration).to(device)])
        if self.flip:
            mirrored = torch.rand(self.batch_size, 1, 1, 1, device=device, generator=draw) < 0.5
            x_0 = torch.where(mirrored, x_0.flip(-1), x_0)
        t = self._times(iteration).to(device)
        eps = torch.randn(x_0.shape, device=device, generator=draw)
        return Batch(q_sample(self.schedule, x_0, t, eps), t, eps, partial(self._signs, iteration, eps.shape))

    def _signs(self, iteration: int, shape: tuple[int, ...]) -> Tensor:
        device = self.images.device
        draw = torch.Generator(device).manual_seed(key(self.seed, "signs", iteration))
        return torch.randint(0, 2, shape, device=device, generator=draw).mul_(2).sub_(1).float()

    def _times(self, iteration: int) -> Tensor:
        """(B,) int64 on the CPU, in 1..T."""
        shift = torch.rand(1, dtype=torch.float64, generator=generator(self.seed, "times", iteration))
        share = torch.arange(self.batch_size, dtype=torch.float64) / self.batch_size
        return 1 + ((share + shift) % 1 * self.schedule.T).long().clamp(max=self.schedule.T - 1)

    def _indices(self, iteration: int) -> Tensor:
        """(B,) int64 on the CPU: positions n B .. (n+1) B of the endless sequence of shuffled epochs."""
        count = self.images.shape[0]
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
            self._order = torch.randperm(self.images.shape[0], generator=generator(self.seed, "epoch", epoch))
            self._epoch = epoch
        return self._order
