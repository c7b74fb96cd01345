"""How well a mean denoises real images, beside what is known without a network: a Gaussian and a constant.

A wrong reading of a network (its times, its heads, its schedule) leaves shapes and names as they are and ruins x0_hat:
the error on a few real images tells readings apart by factors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffcov.basis.cosine import colour_axes, cosine
from diffcov.data import DataDescription, Examples
from diffcov.denoiser.base import Denoiser
from diffcov.denoiser.clipped import Clipped
from diffcov.denoiser.noised import noised_look
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.noise import ImageNoise

KNOWN = 0.95
"""A Gaussian's error over a constant's at the noisiest level of a check."""

__all__ = ["Plausibility", "Yardstick", "times_near", "x0_errors"]


@dataclass(frozen=True, eq=False)
class Yardstick:
    """What can be said of images without a network.

    Attributes:
        spectrum: (C, H, W) float64, the variance of each coefficient about the mean image, in cosines times colours.
    """

    spectrum: Tensor

    @classmethod
    def of(cls, images: Tensor, data: DataDescription) -> Yardstick:
        """The yardstick of (N, C, H, W) uint8 images, N of a few hundred or more."""
        x_0 = data.encode(images, torch.float64)
        coefficients = cosine(*data.shape, colour_axes(images)).forward(x_0 - x_0.mean(0, keepdim=True))
        return cls(coefficients.square().mean(0).cpu())

    @property
    def constant(self) -> float:
        """E||x_0 - mean||^2 / d: the error of always answering with the mean image."""
        return float(self.spectrum.mean())

    def gaussian(self, snr: float) -> float:
        """E||x_0 - E[x_0 | x_t]||^2 / d for a Gaussian of this spectrum: mean of v / (1 + snr v)."""
        return float((self.spectrum / (1 + snr * self.spectrum)).mean())

    def levels(self, schedule: NoiseSchedule, count: int) -> tuple[float, ...]:
        """Log-SNRs, even from that of t = 1 to where a Gaussian has lost all but a twentieth of what it can know.

        Beyond that nothing tells a good network from a bad one, and eps_hat says next to nothing of x_0.
        """
        first, last = float(schedule.log_snr[1]), _last(schedule)
        low, high = min(last, first), first
        for _ in range(60):
            middle = (low + high) / 2
            knows = self.gaussian(math.exp(middle)) < KNOWN * self.constant
            low, high = (low, middle) if knows else (middle, high)
        return tuple(torch.linspace(first, max(high, last), count, dtype=torch.float64).tolist())


@dataclass(frozen=True)
class Plausibility:
    """The errors of one reading at a few noise levels.

    Attributes:
        times: of its schedule.
        log_snr: of each.
        error: E||x_0 - x0_hat||^2 / d of the network, x0_hat clipped to the range of the data.
        gaussian: of the Gaussian.
        constant: of the mean image.
        each: (N,) float64, for each image the mean over noise levels of its error over the Gaussian's.
    """

    times: tuple[int, ...]
    log_snr: tuple[float, ...]
    error: tuple[float, ...]
    gaussian: tuple[float, ...]
    constant: float
    each: Tensor

    def better_than(self, other: Plausibility) -> float:
        """How many standard errors this error lies below another, image by image on the same noise."""
        apart = other.each - self.each
        return float(apart.mean() / (apart.std() / math.sqrt(len(apart))).clamp(min=1e-12))

    @property
    def score(self) -> float:
        """The geometric mean of error / Gaussian's error: below 1, the network knows more than a spectrum."""
        ratios = [math.log(mine / theirs) for mine, theirs in zip(self.error, self.gaussian, strict=True)]
        return math.exp(sum(ratios) / len(ratios))

    @property
    def worst(self) -> float:
        """The largest error / Gaussian's error."""
        return max(mine / theirs for mine, theirs in zip(self.error, self.gaussian, strict=True))

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "times": list(self.times),
            "log_snr": list(self.log_snr),
            "error": list(self.error),
            "gaussian": list(self.gaussian),
            "constant": self.constant,
            "score": self.score,
            "worst": self.worst,
        }


def _last(schedule: NoiseSchedule) -> float:
    """The log-SNR of the last time with a signal."""
    return float(schedule.log_snr[-2 if schedule.ends_at_zero and schedule.T > 1 else -1])


def times_near(schedule: NoiseSchedule, log_snr: Sequence[float]) -> tuple[int, ...]:
    """The times whose log-SNR is nearest to each of these; of a schedule that ends at alpha_bar = 0 before that end."""
    known = schedule.log_snr[1:]
    known = known[:-1] if schedule.ends_at_zero and schedule.T > 1 else known
    wanted = torch.tensor(list(log_snr), dtype=torch.float64)
    return tuple(int(t) + 1 for t in (known[None] - wanted[:, None]).abs().argmin(1))


@torch.inference_mode()
def x0_errors(
    denoiser: Denoiser,
    examples: Examples,
    yardstick: Yardstick,
    times: Sequence[int],
    *,
    seed: int = 0,
    batch_size: int = 64,
) -> Plausibility:
    """The errors of a mean on images, the same noise for every reading.

    Args:
        denoiser: the mean.
        examples: on its device, with labels if it needs them.
        yardstick: of images of that kind.
        times: in 1..T.
        seed: of the noise.
        batch_size: images a network call.

    Raises:
        NonFiniteError: the network gave NaN or infinity.
    """
    data, clipped = denoiser.data, Clipped(denoiser)
    rows: list[Tensor] = []
    for level, t in enumerate(times):
        errors: list[Tensor] = []
        for start in range(0, len(examples), batch_size):
            part = examples[start : start + batch_size]
            keys = [(start + i, level) for i in range(len(part))]
            eps = ImageNoise(seed, keys, data.shape, denoiser.device, "plausibility", denoiser.work_dtype).draw()
            x_0 = data.encode(part.images, denoiser.work_dtype)
            look = noised_look(clipped, x_0, torch.full((len(part),), t, device=x_0.device), eps, part.labels)
            errors.append((x_0.double() - look.x0_hat).square().flatten(1).mean(1).cpu())
        rows.append(torch.cat(errors))
    snr = [float(denoiser.schedule.alpha_bar[t] / denoiser.schedule.beta_bar[t]) for t in times]
    gaussian = [yardstick.gaussian(one) for one in snr]
    each = torch.stack(rows) / torch.tensor(gaussian, dtype=torch.float64)[:, None]
    return Plausibility(
        tuple(times),
        tuple(math.log(one) for one in snr),
        tuple(float(row.mean()) for row in rows),
        tuple(gaussian),
        yardstick.constant,
        each.mean(0),
    )
