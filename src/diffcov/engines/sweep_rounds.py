"""A sweep of single times in rounds, some times after others, so that what is measured can be kept on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from diffcov.basis import colour_axes
from diffcov.data import ExampleSet, in_blocks
from diffcov.denoiser.base import Denoiser
from diffcov.engines.sweep import BLOCK, measured, placement_of
from diffcov.processes.base import current
from diffcov.statistics.base import Placement, Statistic

__all__ = ["Swept", "estimate_in_rounds"]

BATCHES = 8
"""Network calls of a round for each process, at least: what merging rounds costs is nothing beside so many."""
NONE = range(0)


@dataclass(frozen=True)
class Swept:
    """What the rounds of a sweep have measured so far.

    Attributes:
        found: the statistics, by class; of no image at the times that follow.
        times: how many of the times are done.
    """

    found: Mapping[type[Statistic], Any]
    times: int


def estimate_in_rounds(
    denoiser: Denoiser,
    examples: ExampleSet,
    kinds: Sequence[type[Statistic]],
    times: Sequence[int],
    samples: int,
    *,
    seed: int = 0,
    first: int = 0,
    batch_size: int = 256,
    flip: bool = False,
    colour: Tensor | None = None,
    begun: Swept | None = None,
    on_batch: Callable[[int], None] = lambda done: None,
    on_round: Callable[[Swept], None] = lambda swept: None,
) -> dict[type[Statistic], Any]:
    """Measure statistics as :func:`~diffcov.engines.sweep.estimate` does, all samples of some times in each round.

    Args:
        begun: rounds that an earlier sweep of the same has measured: it goes on as that would have done.
        on_round: given what is measured after each round but the last.

    Returns:
        The statistic of these samples alone, by its class.

    Raises:
        UsageError, InputError, NonFiniteError: as for ``estimate``.
    """
    placement = placement_of(kinds, samples, batch_size)
    axes = colour_axes(part.images for part in in_blocks(examples, BLOCK)) if colour is None else colour
    found, done = ({}, 0) if begun is None else (dict(begun.found), begun.times)
    each = _times_a_round(samples, batch_size, placement)
    while done < len(times):
        now, before = set(times[done : done + each]), done * samples
        part = measured(
            denoiser, examples, kinds, {t: range(first, first + samples) if t in now else NONE for t in times},
            placement.value, seed=seed, batch_size=batch_size, flip=flip, colour=axes,
            together=placement is Placement.EVERY_TIME, on_batch=lambda count, start=before: on_batch(start + count),  # type: ignore[misc]
        )  # fmt: skip
        found = {kind: found[kind].merge(one) if kind in found else one for kind, one in part.items()}
        done += len(now)
        if done < len(times):
            on_round(Swept(found, done))
    return found


def _times_a_round(samples: int, batch_size: int, placement: Placement) -> int:
    """Enough for every process to have its calls; where one has all samples of a time, the same for each of them."""
    size = current().size
    least = -(-BATCHES * size * batch_size // samples)
    return least if placement is Placement.EVERY_TIME else -(-least // size) * size
