"""Sweeps of the network over the data: how statistics are measured.

Sample k at time t is a function of (seed, t, k), however the sweep is cut into batches; so sweeps of other samples
merge.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from diffcov.basis import colour_axes
from diffcov.data import ExampleSet, in_blocks
from diffcov.denoiser.base import Denoiser
from diffcov.denoiser.clipped import Clipped
from diffcov.denoiser.noised import Noised, noised_look
from diffcov.errors import UsageError
from diffcov.noise import MEASURING, ImageNoise, generator, key
from diffcov.processes.base import current
from diffcov.statistics.base import Placement, Setting, Statistic
from diffcov.statistics.control import LinearDenoiser

__all__ = ["BLOCK", "SMOOTH", "SweepNoise", "estimate", "measured", "placement_of"]

SMOOTH = "smooth"
"""The purpose of the noise of sweeps through which curves over log-SNR are laid."""
GOLDEN = (5**0.5 - 1) / 2

BLOCK = 4096
"""Images at a time where all of them are looked at before the sweep."""
SweepNoise = Callable[[Sequence[tuple[int, int]]], Tensor]
"""Samples as (t, k) -> the noise (B, C, H, W) that they get."""


@torch.inference_mode()
def estimate(
    denoiser: Denoiser,
    examples: ExampleSet,
    kinds: Sequence[type[Statistic]],
    times: Sequence[int],
    samples: int,
    *,
    clip: bool | None = None,
    seed: int = 0,
    first: int = 0,
    batch_size: int = 256,
    flip: bool = False,
    colour: Tensor | None = None,
    noise: SweepNoise | None = None,
    on_batch: Callable[[int], None] = lambda done: None,
) -> dict[type[Statistic], Any]:
    """Measure statistics of one placement in one sweep.

    Sample k at time t is image ``order[k mod N]`` of a fixed shuffle with noise of its own: statistics of samples 0..99
    and 100..199 merge into those of 0..199, and batches do not matter.

    Args:
        denoiser: the mean as it predicts, not clipped; each statistic says itself whether it is measured through the
            clip.
        examples: on the mean's device, the data it was trained on; a mean with classes sees their labels.
        kinds: which statistics.
        times: which t in 1..T.
        samples: images at each time.
        clip: measure all of them through the clipped mean (True) or through the bare one (False) instead.
        seed: of the shuffle, the flips and the noise.
        first: number of the first sample; M to go on with statistics of M.
        batch_size: images a network call.
        flip: mirror with probability 1/2, as in training.
        colour: (C, C), the rotation of the channels; by default the images' own, see ``basis.colour_axes``.
        noise: to use instead of that of the seed.
        on_batch: told the number of images done so far.

    Returns:
        The statistic of these samples alone, by its class; sums in float64.

    Raises:
        UsageError: samples or batch size below 1, statistics of different placements, or a denoiser that clips.
        InputError: images that a statistic cannot be measured on.
        NonFiniteError: the network gave NaN or infinity.
    """
    placement = placement_of(kinds, samples, batch_size)
    wanted = dict.fromkeys(times, range(first, first + samples))
    return measured(
        denoiser, examples, kinds, wanted, placement.value, clip=clip, seed=seed, batch_size=batch_size, flip=flip,
        colour=colour, noise=noise, together=placement is Placement.EVERY_TIME, on_batch=on_batch,
    )  # fmt: skip


def placement_of(kinds: Sequence[type[Statistic]], samples: int, batch_size: int) -> Placement:
    """Where the statistics of a sweep of single times are measured. UsageError as for :func:`estimate`."""
    if samples < 1 or batch_size < 1:
        raise UsageError(f"--samples and --batch-size must be at least 1, found {samples} and {batch_size}")
    placements = {kind.placement for kind in kinds}
    if len(placements) != 1:
        raise UsageError("a sweep measures statistics of one placement, through a mean that is not clipped")
    return placements.pop()


@torch.inference_mode()
def measured(
    denoiser: Denoiser,
    examples: ExampleSet,
    kinds: Sequence[type[Statistic]],
    samples: Mapping[int, range],
    purpose: str,
    *,
    clip: bool | None = None,
    seed: int = 0,
    batch_size: int = 256,
    flip: bool = False,
    colour: Tensor | None = None,
    noise: SweepNoise | None = None,
    together: bool = True,
    linear: LinearDenoiser | None = None,
    on_batch: Callable[[int], None] = lambda done: None,
) -> dict[type[Statistic], Any]:
    """Measure statistics at times that have samples of their own each; see :func:`estimate` for what is not here.

    Several processes share the samples, and all get the statistics of all of them.

    Args:
        samples: by time, the numbers of its samples.
        purpose: of the noise; that of :data:`SMOOTH` takes other images at each time.
        together: whether a network call may hold several times.
        linear: begins statistics that lay curves through all times.

    Raises:
        UsageError, InputError, NonFiniteError: as for :func:`estimate`.
    """
    if denoiser.view.clip_x0:
        raise UsageError("a sweep measures statistics of one placement, through a mean that is not clipped")
    axes = colour_axes(part.images for part in in_blocks(examples, BLOCK)) if colour is None else colour
    setting = Setting(denoiser.schedule, denoiser.data, tuple(samples), axes, linear)
    meters = {kind: kind.begin(setting) for kind in kinds}
    clipped, source = Clipped(denoiser), _Source(denoiser, examples, seed, flip, purpose, noise)
    ours, groups = current(), _batches(samples, batch_size, together, whole=linear is not None)
    sizes = [sum(map(len, group)) for group in groups]
    own = ours.dealt(sizes)
    share = sum(sizes[k] for k in own)

    def swept() -> dict[type[Statistic], Any]:
        done = 0
        for batch in (batch for k in own for batch in groups[k]):
            whole = source.noised(batch)
            for bare in [whole] if linear is None else whole.by_time():
                through_clip = bare.seen(clipped.change(bare.look))
                for kind, meter in meters.items():
                    meter.add(through_clip if (kind.clips if clip is None else clip) else bare)
            done += len(batch)
            on_batch(done * sum(sizes) // share)
        return {kind: meter.result() for kind, meter in meters.items()}

    parts = ours.gathered(swept)
    return {kind: reduce(lambda a, b: a.merge(b), (part[kind] for part in parts)) for kind in meters}


Batch = Sequence[tuple[int, int]]


def _batches(samples: Mapping[int, range], size: int, together: bool, whole: bool) -> list[list[Batch]]:
    """All pairs (t, k), time by time, in batches; those of a list go to one process.

    Several times share a batch where they may. Where they do not, and where times stay ``whole``, one process has all
    batches of a time: some statistics take its samples together.
    """
    times = [[(t, k) for k in numbers] for t, numbers in samples.items()]
    if not together:
        return [list(in_blocks(group, size)) for group in times]
    if not whole:
        return [[batch] for batch in in_blocks([pair for group in times for pair in group], size)]
    lists: list[list[tuple[int, int]]] = []
    for group in times:
        if lists and len(lists[-1]) + len(group) <= size:
            lists[-1] += group
        else:
            lists.append(group)
    return [list(in_blocks(some, size)) for some in lists]


class _Source:
    """Noises samples and looks at them."""

    def __init__(
        self,
        denoiser: Denoiser,
        examples: ExampleSet,
        seed: int,
        flip: bool,
        purpose: str,
        noise: SweepNoise | None,
    ) -> None:
        self.denoiser, self.examples, self.seed, self.flip, self.purpose = denoiser, examples, seed, flip, purpose
        self.order = torch.randperm(len(examples), generator=generator(seed, f"{purpose}-order"))
        self.noise = noise or self._own_noise

    def _own_noise(self, batch: Batch) -> Tensor:
        denoiser = self.denoiser
        return ImageNoise(
            self.seed, batch, denoiser.data.shape, denoiser.device, self.purpose, denoiser.work_dtype, MEASURING
        ).draw()

    def _image(self, t: int, k: int) -> int:
        """The place in the shuffle of sample k at t.

        Where curves are laid through all times, each time begins elsewhere, by multiples of the golden ratio, which
        spread evenly however many they are: a curve then averages over all images, and not over the same few.
        """
        count = len(self.order)
        return (k + int(count * (GOLDEN * t % 1)) * (self.purpose == SMOOTH)) % count

    def noised(self, batch: Batch) -> Noised:
        """One batch in float64; its look has the time of all where they share one.

        Raises:
            NonFiniteError: the network gave NaN or infinity.
        """
        denoiser = self.denoiser
        chosen = self.examples[self.order[[self._image(t, k) for t, k in batch]]]
        x_0 = denoiser.data.encode(chosen.images, denoiser.work_dtype)
        if self.flip:
            mirrored = torch.tensor([bool(key(self.seed, f"{self.purpose}-flip", t, k) & 1) for t, k in batch])
            x_0 = torch.where(mirrored.to(x_0.device)[:, None, None, None], x_0.flip(-1), x_0)
        eps = self.noise(batch)
        times = [t for t, _ in batch]
        t = torch.tensor(times, device=x_0.device)
        look = noised_look(denoiser, x_0, t, eps, chosen.labels)
        if len(set(times)) == 1:
            look = look.rows(slice(None), times[0])
        return Noised(denoiser.schedule, x_0.double(), eps.double(), look)
