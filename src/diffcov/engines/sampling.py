"""The reverse loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from diffcov.covariance.base import Covariance
from diffcov.covariance.clipping import last_noise_cap
from diffcov.denoiser.network import MeanModel
from diffcov.diffusion.grid import Trajectory
from diffcov.diffusion.process import PROCESSES, Process, Step, x0_from_eps
from diffcov.errors import NonFiniteError, UsageError
from diffcov.noise import ImageNoise

__all__ = ["Sampler", "generate", "sample"]


@dataclass(frozen=True)
class Sampler:
    """How to go from noise to images.

    Args:
        covariance: of each step.
        process: DDPM or DDIM.
        trajectory: the visited times.
        cap_levels: size of the last noise in grey levels, or None for no cap.
        clip_x0: whether x0_hat is clipped to the data range.
        eps_scale: what eps_hat is divided by in the mean; ``eps_scale.py`` measures which number that should be.

    Raises:
        UsageError: a covariance that has no meaning for the process, a negative cap, or a scale that is not a positive
            number.
    """

    covariance: Covariance
    process: Process
    trajectory: Trajectory
    cap_levels: float | None
    clip_x0: bool = True
    eps_scale: float = 1.0

    def __post_init__(self) -> None:
        self.covariance.check_process(self.process)
        if not 0 < self.eps_scale < math.inf:
            raise UsageError(f"eps_hat is divided by a positive number, found {self.eps_scale}")
        if self.cap_levels is not None and not self.cap_levels >= 0:
            raise UsageError(f"the cap on the last noise must be at least 0 grey levels, found {self.cap_levels}")

    @property
    def label(self) -> str:
        """Covariance, process and trajectory, as they are named in files; eta where it is not the process's own."""
        own = PROCESSES[self.process.name](None).eta
        eta = "" if self.process.eta == own else f"-eta{self.process.eta:g}"
        return f"{self.covariance.name}-{self.process.name}{eta}-{self.trajectory.name}{self.trajectory.K}"


@torch.inference_mode()
def sample(
    model: MeanModel,
    sampler: Sampler,
    noise: ImageNoise,
    on_prediction: Callable[[int, Tensor], None] = lambda t, eps_hat: None,
) -> Tensor:
    """Draw one batch; exactly K network calls for K steps.

    Args:
        model: the mean model, frozen.
        sampler: how to step.
        noise: one stream an image; drawn from once at the start and once a noisy step.
        on_prediction: told (t, eps_hat) of every network call, eps_hat as predicted, not scaled.

    Returns:
        (B, C, H, W) float32, x_0 in about [low, high].

    Raises:
        NonFiniteError: NaN or infinity in the result.
    """
    schedule, data = model.schedule, model.data
    last_noisy = sampler.trajectory.times[0]
    x_t = noise.draw()
    finite = torch.ones((), dtype=torch.bool, device=x_t.device)
    for s, t in sampler.trajectory.pairs():
        step = Step(schedule, s, t, sampler.process.eta)
        prediction = model.predict_at(x_t, t)
        on_prediction(t, prediction.eps_hat)
        finite &= torch.isfinite(prediction.eps_hat).all()  # the clips below would hide an infinity
        eps_hat = prediction.eps_hat / sampler.eps_scale
        x0_hat = x0_from_eps(schedule, x_t, t, eps_hat)
        if sampler.clip_x0:
            x0_hat = x0_hat.clamp(data.low, data.high)
        x_s = sampler.process.mean(step, x_t, x0_hat, eps_hat)
        if s > 0:
            basis = sampler.covariance.basis_at(schedule, t)
            var_xs = sampler.covariance.var_xs(step, prediction, data.var_bound)
            if s == last_noisy and sampler.cap_levels is not None:
                var_xs = var_xs.clamp(max=last_noise_cap(sampler.cap_levels, data.level_width))
            x_s = x_s + basis.inverse(var_xs.sqrt().to(x_s.device, x_s.dtype) * noise.draw())
        x_t = x_s
    if not finite & torch.isfinite(x_t).all():
        raise NonFiniteError(
            "NaN or infinity while sampling; the mean model or the variance head is broken: look at it with diffcov "
            "inspect, and train it again"
        )
    return x_t


def generate(
    model: MeanModel,
    sampler: Sampler,
    count: int,
    *,
    seed: int = 0,
    batch_size: int = 64,
    first: int = 0,
    purpose: str = "sample",
    on_batch: Callable[[int], None] = lambda done: None,
    on_prediction: Callable[[int, Tensor], None] = lambda t, eps_hat: None,
) -> Iterator[Tensor]:
    """Images first..first+count-1 of a seed, batch after batch; image i depends on (seed, i) alone.

    Args:
        model: the mean model, frozen.
        sampler: how to step.
        count: number of images.
        seed: of start noise and step noise.
        batch_size: images a network call.
        first: number of the first image.
        purpose: keeps noise of the same seed for different uses apart.
        on_batch: told the number of images done so far.
        on_prediction: told (t, eps_hat) of every network call, eps_hat as predicted, not scaled.

    Yields:
        (B, C, H, W) uint8 grey levels on the CPU.

    Raises:
        UsageError: count or batch size below 1.
        NonFiniteError: NaN or infinity in an image.
    """
    if count < 1 or batch_size < 1:
        raise UsageError(f"--count and --batch-size must be at least 1, found {count} and {batch_size}")
    for start in range(first, first + count, batch_size):
        indices = range(start, min(start + batch_size, first + count))
        noise = ImageNoise(seed, indices, model.data.shape, model.device, purpose)
        pixels = model.data.decode(sample(model, sampler, noise, on_prediction)).cpu()
        on_batch(indices.stop - first)
        yield pixels
