"""The reverse loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from diffcov.denoiser.look import Look
from diffcov.engines.finite import Watch
from diffcov.engines.last_noise import last_noise_cap
from diffcov.engines.sampler import Sampler
from diffcov.errors import UsageError
from diffcov.gaussian.diagonal import Diagonal
from diffcov.noise import WHITE_IN_PIXELS, ImageNoise, Noise
from diffcov.processes.base import current

__all__ = ["draw", "generate", "sample"]


@torch.inference_mode()
def sample(
    sampler: Sampler,
    noise: Noise,
    cond: Tensor | None = None,
    on_look: Callable[[Look], None] = lambda look: None,
) -> Tensor:
    """Draw one batch; exactly K looks for K steps.

    Args:
        sampler: how to step.
        noise: drawn from once at the start and once at each step but the last; its dtype is that of the arithmetic.
        cond: (B,) class labels.
        on_look: told every look.

    Returns:
        (B, C, H, W), x_0 in about [low, high].

    Raises:
        NonFiniteError: NaN or infinity at any step; the first quantity and time are named.
    """
    denoiser, solver, covariance = sampler.denoiser, sampler.solver, sampler.covariance
    steps = solver.steps(denoiser.schedule, sampler.grid)
    color = Diagonal.color if sampler.noise >= WHITE_IN_PIXELS else Diagonal.color_coefficients
    last_noisy, walk = sampler.grid.times[0], solver.walk(steps)
    x_t = _start(sampler, noise)
    watch = Watch()
    watch.see("the start", sampler.grid.times[-1], x_t)
    for step in steps:
        s, t = step.s, step.t
        look = denoiser.look(x_t, t, cond)
        on_look(look)
        watch.see("what the network predicts", t, look.predicted)  # a clip would hide an infinity
        x_s = walk.mean(step, look)
        watch.see(f"the mean of the step by {solver.name}", t, x_s)
        if s > 0:
            uncertainty = covariance.at(look).shared(sampler.share).lifted(step)
            if s == last_noisy and sampler.cap_levels is not None:
                uncertainty = uncertainty.capped(last_noise_cap(sampler.cap_levels, denoiser.data.level_width))
            x_s = x_s + color(uncertainty, noise.draw())
            watch.see(f"the noise of the {covariance.name} covariance", t, x_s)
        x_t = x_s
    watch.require(
        "while sampling",
        "the mean model or the variance head is broken: look at it with diffcov inspect, and train it again",
    )
    return x_t


def _start(sampler: Sampler, noise: Noise) -> Tensor:
    """x_t at the grid's last time: noise, or what the sampler's own start makes of it."""
    drawn = noise.draw()
    if sampler.start is None:
        return drawn
    return sampler.start.draw(sampler.denoiser.schedule, sampler.grid.times[-1], drawn)


def generate(
    sampler: Sampler,
    count: int,
    *,
    batch_size: int = 64,
    first: int = 0,
    purpose: str = "sample",
    on_batch: Callable[[int], None] = lambda done: None,
    on_look: Callable[[Look], None] = lambda look: None,
) -> Iterator[Tensor]:
    """Images first..first+count-1 of the sampler's seed, batch after batch; image i depends on (seed, i) alone.

    Several processes draw a batch each at a time, and all get all of them.

    Args:
        sampler: how to step.
        count: number of images.
        batch_size: images a network call.
        first: number of the first image.
        purpose: keeps noise of the same seed for different uses apart.
        on_batch: told the number of images done so far.
        on_look: told every look of this process.

    Yields:
        (B, C, H, W) uint8 grey levels on the CPU.

    Raises:
        UsageError: count or batch size below 1.
        NonFiniteError: NaN or infinity in an image.
    """
    if count < 1 or batch_size < 1:
        raise UsageError(f"--count and --batch-size must be at least 1, found {count} and {batch_size}")
    ours, last, done = current(), first + count, 0
    for start in range(first, last, batch_size * ours.size):
        own = ours.share(min(batch_size * ours.size, last - start))
        indices = range(start + own.start, start + own.stop)
        for pixels in ours.gathered(lambda numbers=indices: _decoded(sampler, numbers, purpose, on_look)):  # type: ignore[misc]
            if len(pixels):
                done += len(pixels)
                on_batch(done)
                yield pixels


def _decoded(sampler: Sampler, numbers: range, purpose: str, on_look: Callable[[Look], None]) -> Tensor:
    """The images of these numbers, (B, C, H, W) uint8 grey levels on the CPU; B may be 0."""
    denoiser, shape = sampler.denoiser, sampler.denoiser.data.shape
    if not numbers:
        return torch.empty(0, *shape, dtype=torch.uint8)
    noise = ImageNoise(
        sampler.seed, numbers, shape, denoiser.device, purpose, denoiser.work_dtype, sampler.noise, sampler.grid.K
    )
    return denoiser.data.decode(sample(sampler, noise, sampler.labels_of(numbers), on_look)).cpu()


def draw(sampler: Sampler, count: int, *, batch_size: int = 64, first: int = 0) -> Tensor:
    """Images first..first+count-1 together, (count, C, H, W) uint8 grey levels on the CPU; see :func:`generate`."""
    return torch.cat(list(generate(sampler, count, batch_size=batch_size, first=first)))
