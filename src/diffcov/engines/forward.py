"""One pass of the network along the forward process, which every meter of likelihood and calibration reads.

Image i at time t is noised by a draw that depends on (seed, i, t) alone. So every covariance and every trajectory is
measured on the same x_t, and differences between them are far sharper than the values themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from diffcov.denoiser.network import MeanModel
from diffcov.denoiser.prediction import Prediction
from diffcov.diffusion.process import q_sample, x0_from_eps
from diffcov.errors import NonFiniteError, UsageError
from diffcov.nets.features import Features
from diffcov.noise import ImageNoise

__all__ = ["Look", "Meter", "look_along", "measure"]


@dataclass(frozen=True)
class Look:
    """What the network saw and said of a batch of images at one time.

    Attributes:
        t: the time.
        rows: the images' numbers.
        x_0: (B, C, H, W) float64, the images.
        x0_hat: (B, C, H, W) float64, the model's mean of x_0 given x_t, clipped if asked for.
        prediction: the network's call.
    """

    t: int
    rows: slice
    x_0: Tensor
    x0_hat: Tensor
    prediction: Prediction

    @property
    def error(self) -> Tensor:
        """x_0 - x0_hat, (B, C, H, W) float64."""
        return self.x_0 - self.x0_hat


class Meter(Protocol):
    """Something that adds up what looks show."""

    @property
    def times(self) -> Sequence[int]:
        """At which t it wants to look."""

    def add(self, look: Look) -> None:
        """Take one batch at one of these times into account."""


def look_along(
    model: MeanModel,
    images: Tensor,
    times: Sequence[int],
    *,
    seed: int = 0,
    batch_size: int = 256,
    clip_x0: bool = True,
) -> Iterator[Look]:
    """Look at every image at every time, each pair through the network once.

    Args:
        model: the mean model, frozen.
        images: (N, C, H, W) uint8 grey levels on the model's device.
        times: in 1..T, each once.
        seed: of the noise.
        batch_size: images a network call.
        clip_x0: whether x0_hat is clipped to the data range, as in sampling.

    Raises:
        UsageError: a batch size below 1.
        NonFiniteError: the network gave NaN or infinity.
    """
    if batch_size < 1:
        raise UsageError(f"--batch-size must be at least 1, found {batch_size}")
    for start in range(0, images.shape[0], batch_size):
        x_0 = model.data.encode(images[start : start + batch_size])
        rows = slice(start, start + x_0.shape[0])
        together = max(1, batch_size // x_0.shape[0])  # few images: several times share a call
        for first in range(0, len(times), together):
            yield from _look(model, x_0, rows, times[first : first + together], seed, clip_x0)


def _look(model: MeanModel, x_0: Tensor, rows: slice, times: Sequence[int], seed: int, clip_x0: bool) -> Iterator[Look]:
    """One call of the network for all ``times`` of these images, taken apart again by time."""
    t = torch.tensor(list(times), device=x_0.device).repeat_interleave(x_0.shape[0])
    keys = [(i, t) for t in times for i in range(rows.start, rows.stop)]
    eps = ImageNoise(seed, keys, model.data.shape, x_0.device, purpose="forward").draw()
    x_t = q_sample(model.schedule, x_0.repeat(len(times), 1, 1, 1), t, eps)
    eps_hat, features = model.predict(x_t, t)
    if not torch.isfinite(eps_hat).all():
        raise NonFiniteError("the network predicts NaN or infinite noise; the mean model is broken: train it again")
    size = x_0.shape[0]
    for k, time in enumerate(times):
        own = slice(k * size, (k + 1) * size)
        prediction = Prediction(eps_hat[own], Features(features.activations[own], features.embedding[own]))
        x0_hat = x0_from_eps(model.schedule, x_t[own].double(), time, prediction.eps_hat.double())
        if clip_x0:
            x0_hat = x0_hat.clamp(model.data.low, model.data.high)
        yield Look(time, rows, x_0.double(), x0_hat, prediction)


@torch.inference_mode()
def measure(
    model: MeanModel,
    images: Tensor,
    meters: Sequence[Meter],
    *,
    seed: int = 0,
    batch_size: int = 256,
    clip_x0: bool = True,
    on_look: Callable[[int], None] = lambda done: None,
) -> None:
    """Fill all meters in one pass: each time that any of them wants costs one network call an image.

    Args:
        model, images, seed, batch_size, clip_x0: as for :func:`look_along`.
        meters: filled in place.
        on_look: told the number of (image, time) pairs done so far.
    """
    times = sorted({t for meter in meters for t in meter.times})
    readers = {t: [meter for meter in meters if t in meter.times] for t in times}
    done = 0
    for look in look_along(model, images, times, seed=seed, batch_size=batch_size, clip_x0=clip_x0):
        for meter in readers[look.t]:
            meter.add(look)
        done += look.x_0.shape[0]
        on_look(done)
