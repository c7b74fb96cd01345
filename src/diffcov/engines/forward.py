"""One pass of the network along the forward process, which every meter of likelihood and calibration reads.

Image i at time t is noised by a draw that depends on (seed, i, t) alone. So every covariance and every grid is measured
on the same x_t, and differences between them are far sharper than the values themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import torch
from torch import Tensor

from diffcov.data import Examples, ExampleSet
from diffcov.denoiser.base import Denoiser
from diffcov.denoiser.noised import Noised, noised_look
from diffcov.errors import UsageError
from diffcov.noise import MEASURING, ImageNoise
from diffcov.processes.base import current

__all__ = ["ForwardNoise", "Meter", "look_along", "measure"]

ForwardNoise = Callable[[int, slice], Tensor]
"""(t, numbers of the images) -> the noise (B, C, H, W) that they get at this time."""


class Meter(Protocol):
    """Something that adds up what looks show."""

    @property
    def times(self) -> Sequence[int]:
        """At which t it wants to look."""

    def add(self, noised: Noised) -> None:
        """Take one batch at one of these times into account."""

    def sums(self) -> Sequence[Tensor]:
        """All that it has added up, float64 on the CPU; what other processes added up is added to it in place.

        A meter that only one process uses needs none.
        """


def look_along(
    denoiser: Denoiser,
    examples: ExampleSet,
    times: Sequence[int],
    *,
    seed: int = 0,
    batch_size: int = 256,
    noise: ForwardNoise | None = None,
) -> Iterator[Noised]:
    """Look at every image at every time, each pair through the network once, all in float64.

    Args:
        denoiser: the mean, through the view that is measured.
        examples: on the mean's device; a mean with classes sees their labels.
        times: in 1..T, each once.
        seed: of the noise.
        batch_size: images a network call.
        noise: to use instead of that of the seed.

    Raises:
        UsageError: a batch size below 1.
        NonFiniteError: the network gave NaN or infinity.
    """
    calls = _calls(len(examples), times, batch_size)
    yield from _looks(denoiser, examples, calls, noise or _noise_of(seed, denoiser))


@dataclass(frozen=True)
class _Call:
    """One call of the network: some images, each at some times."""

    images: slice
    times: Sequence[int]

    @property
    def looks(self) -> int:
        """Images times times."""
        return int(self.images.stop - self.images.start) * len(self.times)


def _calls(count: int, times: Sequence[int], batch_size: int) -> list[_Call]:
    """All calls for ``count`` images, batch by batch; of few images several times share a call."""
    if batch_size < 1:
        raise UsageError(f"--batch-size must be at least 1, found {batch_size}")
    calls = []
    for start in range(0, count, batch_size):
        images = slice(start, min(start + batch_size, count))
        together = max(1, batch_size // (images.stop - start))
        calls += [_Call(images, times[k : k + together]) for k in range(0, len(times), together)]
    return calls


def _looks(denoiser: Denoiser, examples: ExampleSet, calls: Sequence[_Call], noise: ForwardNoise) -> Iterator[Noised]:
    """What calls show; images that follow one another in several of them are read once."""
    read, part = slice(0), Examples(torch.empty(0, 1, 1, 1, dtype=torch.uint8))
    for call in calls:
        if call.images != read:
            read, part = call.images, examples[call.images]
        yield from _look(denoiser, part, call.images.start, call.times, noise)


def _noise_of(seed: int, denoiser: Denoiser) -> ForwardNoise:
    def draw(t: int, rows: slice) -> Tensor:
        keys = [(i, t) for i in range(rows.start, rows.stop)]
        return ImageNoise(
            seed, keys, denoiser.data.shape, denoiser.device, "forward", denoiser.work_dtype, MEASURING
        ).draw()

    return draw


def _look(
    denoiser: Denoiser, part: Examples, start: int, times: Sequence[int], noise: ForwardNoise
) -> Iterator[Noised]:
    """One call of the network for all ``times`` of these images, taken apart again by time."""
    size = len(part)
    x_0 = denoiser.data.encode(part.images, denoiser.work_dtype)
    t = torch.tensor(list(times), device=x_0.device).repeat_interleave(size)
    eps = torch.cat([noise(time, slice(start, start + size)) for time in times])
    labels = None if part.labels is None else part.labels.repeat(len(times))
    look = noised_look(denoiser, x_0.repeat(len(times), 1, 1, 1), t, eps, labels)
    for k, time in enumerate(times):
        own = slice(k * size, (k + 1) * size)
        yield Noised(denoiser.schedule, x_0.double(), eps[own].double(), look.rows(own, time), start)


@torch.inference_mode()
def measure(
    denoiser: Denoiser,
    examples: ExampleSet,
    meters: Sequence[Meter],
    *,
    seed: int = 0,
    batch_size: int = 256,
    noise: ForwardNoise | None = None,
    skip: int = 0,
    on_look: Callable[[int], None] = lambda done: None,
    on_call: Callable[[int], None] = lambda calls: None,
) -> None:
    """Fill all meters in one pass: each time that any of them wants costs one look an image.

    Several processes share the calls of the network, and all have the whole in their meters in the end.

    Args:
        denoiser, examples, seed, batch_size, noise: as for :func:`look_along`.
        meters: filled in place.
        skip: calls of the network that an earlier pass of this process has done, whose sums stand in the meters.
        on_look: told the number of (image, time) pairs done so far, in all processes about.
        on_call: told the number of calls of this process done so far, when all meters know them.
    """
    times = sorted({t for meter in meters for t in meter.times})
    readers = {t: [meter for meter in meters if t in meter.times] for t in times}
    ours, calls = current(), _calls(len(examples), times, batch_size)
    mine = [calls[k] for k in ours.dealt([call.looks for call in calls])]
    total, own = sum(call.looks for call in calls), sum(call.looks for call in mine)

    def fill() -> None:
        done, rest = sum(call.looks for call in mine[:skip]), mine[skip:]
        looks = _looks(denoiser, examples, rest, noise or _noise_of(seed, denoiser))
        for k, call in enumerate(rest, skip + 1):
            for noised in islice(looks, len(call.times)):
                for meter in readers[noised.look.time]:
                    meter.add(noised)
                done += len(noised.x_0)
                on_look(done * total // own)
            on_call(k)

    ours.gathered(fill)
    if ours.size > 1:
        ours.summed([sums for meter in meters for sums in meter.sums()])
