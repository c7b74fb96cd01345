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
from diffcov.data import DataDescription, ExampleSet
from diffcov.denoiser.base import Denoiser
from diffcov.denoiser.clipped import Clipped
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.forward import look_along
from diffcov.noise import MEASURING, ImageNoise
from diffcov.statistics.knots import signal_log_snr

KNOWN = 0.95
"""A Gaussian's error over a constant's at the noisiest level of a check."""

__all__ = ["Plausibility", "Yardstick", "x0_errors"]


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

    def in_units(self, unit: float) -> Yardstick:
        """The yardstick of the same images with every number ``unit`` times as large."""
        return Yardstick(self.spectrum * unit**2)

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
        known = signal_log_snr(schedule)
        first, last = float(known[0]), float(known[-1])
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

    @property
    def above(self) -> int:
        """At how many of the levels the network knows less than the Gaussian."""
        return sum(mine > theirs for mine, theirs in zip(self.error, self.gaussian, strict=True))

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


@torch.inference_mode()
def x0_errors(
    denoiser: Denoiser,
    examples: ExampleSet,
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
    rows: dict[int, list[Tensor]] = {t: [] for t in times}

    def draw(t: int, images: slice) -> Tensor:
        keys = [(i, times.index(t)) for i in range(images.start, images.stop)]
        return ImageNoise(
            seed, keys, denoiser.data.shape, denoiser.device, "plausibility", denoiser.work_dtype, MEASURING
        ).draw()

    for noised in look_along(Clipped(denoiser), examples, tuple(rows), batch_size=batch_size, noise=draw):
        rows[noised.look.time].append(noised.error.square().flatten(1).mean(1).cpu())
    errors = [torch.cat(rows[t]) for t in times]
    log_snr = [float(denoiser.schedule.log_snr[t]) for t in times]
    gaussian = [yardstick.gaussian(math.exp(one)) for one in log_snr]
    each = torch.stack(errors) / torch.tensor(gaussian, dtype=torch.float64)[:, None]
    return Plausibility(
        tuple(times),
        tuple(log_snr),
        tuple(float(row.mean()) for row in errors),
        tuple(gaussian),
        yardstick.constant,
        each.mean(0),
    )
