"""One sweep for all statistics at once: a few images at each of a few dozen noise levels, and curves through them.

Round after round the network is called where the curves are least certain, until they are certain enough or the budget
is spent.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from diffcov.basis import colour_axes, cosine
from diffcov.data import ExampleSet, in_blocks
from diffcov.denoiser.base import Denoiser
from diffcov.engines.allocation import HANDFUL, Uncertainty, first_round
from diffcov.engines.sweep import BLOCK, SMOOTH, measured
from diffcov.processes.base import current
from diffcov.statistics.base import Statistic
from diffcov.statistics.control import LinearDenoiser

__all__ = ["Goal", "Reached", "Rounds", "smooth_sweep"]

Found = dict[type[Statistic], Any]
GROWTH = 1.0
"""A round is at most this many times all images before it: what later rounds learn decides where they go."""


@dataclass(frozen=True)
class Goal:
    """When a sweep ends: at the first of these.

    Attributes:
        rtol: the relative standard error of E||eps - eps_hat||^2 that is wanted at all times; five times that of a
            band of the spectrum. None: whatever the budget gives.
        calls: images through the network at most, now.
        seconds: at most, from the start of the sweep on; what is left is asked between rounds.
    """

    rtol: float | None = None
    calls: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Reached:
    """How far a sweep is.

    Attributes:
        images: through the network so far, in this sweep.
        errors: largest relative standard error over all noise levels, by quantity.
        needed: further images until the wanted error, about; 0 where it is reached, None where none is wanted.
    """

    images: int
    errors: Mapping[str, float]
    needed: int | None


@dataclass(frozen=True)
class Rounds:
    """What the rounds of a sweep have measured so far.

    Attributes:
        found: by class, what was held included.
        images: through the network in these rounds.
        seconds: that they took.
    """

    found: Found
    images: int
    seconds: float


def smooth_sweep(
    denoiser: Denoiser,
    examples: ExampleSet,
    kinds: Sequence[type[Statistic]],
    goal: Goal,
    *,
    like: Mapping[int, int] | None = None,
    held: Mapping[type[Statistic], Any] | None = None,
    seed: int = 0,
    batch_size: int = 256,
    flip: bool = False,
    colour: Tensor | None = None,
    begun: Rounds | None = None,
    on_batch: Callable[[int], None] = lambda done: None,
    on_round: Callable[[Reached], None] = lambda reached: None,
    on_found: Callable[[Rounds], None] = lambda rounds: None,
) -> Found:
    """Measure statistics that lay curves over log-SNR, or go on with them.

    Sample k at time t is a function of (seed, t, k); how many there are at which time follows from what was measured.

    Args:
        denoiser: the mean as it predicts, not clipped.
        examples: on the mean's device, the data it was trained on.
        kinds: which statistics; each :attr:`~diffcov.statistics.base.Statistic.smooths`.
        goal: when to end; a first round of at least two images at each of a few dozen noise levels comes before.
        like: images by time, to measure just these instead; then the goal says nothing.
        held: what they go on from, all of the same images.
        seed: of the shuffle, the flips and the noise.
        batch_size: images a network call.
        flip: mirror with probability 1/2, as in training.
        colour: (C, C), the rotation of the channels; by default the images' own.
        begun: rounds that an earlier sweep of the same has measured: it goes on as that would have done.
        on_batch: told the number of images done so far.
        on_round: told how far it is after each round.
        on_found: given what is measured after each round.

    Returns:
        The statistics with those that were held.

    Raises:
        UsageError, InputError, NonFiniteError: as for :func:`diffcov.engines.sweep.estimate`.
    """
    earlier = begun or Rounds(dict(held or {}), 0, 0.0)
    started, found, done = time.monotonic() - earlier.seconds, dict(earlier.found), earlier.images
    axes = colour_axes(part.images for part in in_blocks(examples, BLOCK)) if colour is None else colour
    basis = cosine(*denoiser.data.shape, axes.cpu())
    linear = LinearDenoiser.of((part.images for part in in_blocks(examples, BLOCK)), denoiser.data, basis, flip)
    plan: Mapping[int, int] | None = like
    if not like and not found:
        plan = first_round(denoiser.schedule, goal.calls)
    elif not like:
        known = _uncertainty(denoiser, found)
        if done:
            on_round(Reached(done, known.errors(), _needed(known, found, goal)))
        plan = _plan(known, found, goal, done, started)
    while plan is not None:
        before = _counts(found)
        samples = {t: range(before.get(t, 0), before.get(t, 0) + more) for t, more in plan.items()}
        part = measured(
            denoiser, examples, kinds, samples, SMOOTH, seed=seed, batch_size=batch_size, flip=flip, colour=axes,
            linear=linear, on_batch=lambda count, start=done: on_batch(start + count),  # type: ignore[misc]
        )  # fmt: skip
        found = {kind: found[kind].merge(more) if kind in found else more for kind, more in part.items()}
        done += sum(plan.values())
        if like:
            break
        on_found(Rounds(found, done, time.monotonic() - started))
        known = _uncertainty(denoiser, found)
        on_round(Reached(done, known.errors(), _needed(known, found, goal)))
        plan = _plan(known, found, goal, done, started)
    return found


def _plan(known: Uncertainty, found: Found, goal: Goal, done: int, started: float) -> dict[int, int] | None:
    """Images of the next round by time, as the first process would have it; None where the sweep is at its end."""
    return current().from_first(lambda: _next(known, found, goal, done, time.monotonic() - started))


def _next(known: Uncertainty, found: Found, goal: Goal, done: int, spent: float) -> dict[int, int] | None:
    left = math.inf if goal.calls is None else goal.calls - done
    if goal.seconds is not None and done:
        left = min(left, (goal.seconds - spent) * done / spent)
    needed = _needed(known, found, goal)
    images = min(left, GROWTH * sum(_counts(found).values()), math.inf if needed is None else needed)
    return known.next_round(int(images)) if images >= 1 else None


def _needed(known: Uncertainty, found: Found, goal: Goal) -> int | None:
    """Images until the wanted error, if errors fall with the root of their number; None where none is wanted."""
    if goal.rtol is None:
        return None
    ratio, before = known.ratio(goal.rtol), sum(_counts(found).values())
    return 0 if ratio <= 1 else max(math.ceil(before * (ratio**2 - 1)), HANDFUL)


def _uncertainty(denoiser: Denoiser, found: Found) -> Uncertainty:
    wanted = [one for statistic in found.values() if (one := statistic.wanted()) is not None]
    return Uncertainty(denoiser.schedule, wanted)


def _counts(found: Found) -> dict[int, int]:
    """Images measured so far, by time."""
    return next((statistic.counts() for statistic in found.values()), {})
