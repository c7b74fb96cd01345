"""How time grows with the image size, the batch, the number of steps K and of times T: each a ratio to the row before.

A straight line says that nothing but the network counts: seconds a network call of one image grow with its pixels (and
attention's square), seconds of a sampling with K, seconds of a table do not grow with T.

Run: python benchmarks/growth.py [--repeats N] [--out benchmarks/results/growth-NAME.json]
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Mapping

os.environ.setdefault("GOMP_SPINCOUNT", "1000")

from sizes import SIZES
from speed import random_examples, session_for, steps
from timing import asked, report, seconds

from diffcov import NoiseSchedule, Sampler, TimeConvention, View, draw, make_covariance, through
from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.spec import MeanSpec
from diffcov.engines.smooth_sweep import Goal, smooth_sweep
from diffcov.runtime import keep_freed_memory
from diffcov.statistics.spectrum import Spectrum
from diffcov.statistics.table import VarianceTable

PHOTOGRAPHS, DIGITS = SIZES["photographs"], SIZES["digits"]


def in_turn(ways: Mapping[int, Callable[[], object]], repeats: int) -> dict[int, float]:
    """Median seconds of each way, all called in turn, so often."""
    for way in ways.values():
        way()
    rounds = [{name: seconds(way) for name, way in ways.items()} for _ in range(repeats)]
    return {name: statistics.median(one[name] for one in rounds) for name in ways}


def sampling(mean: MeanModel, count: int, batch: int, K: int) -> Callable[[], object]:
    """``count`` images in K steps of DDPM."""
    sampler = Sampler.of(through(mean, View(clip_x0=True)), make_covariance("small", mean), steps=K)
    return lambda: draw(sampler, count, batch_size=batch)


def by_size(repeats: int) -> dict[str, dict[int, float]]:
    """A training step and a sampling in 5 steps, of 8 images of 8x8 to 64x64: milliseconds an image."""
    sizes = {side: PHOTOGRAPHS.square(side) for side in (8, 16, 32, 64)}
    drawing = in_turn({n: sampling(size.spec.build().freeze(), 8, 8, 5) for n, size in sizes.items()}, repeats)
    training = in_turn({n: steps(*session_for(size.spec, 8), 1) for n, size in sizes.items()}, repeats)
    return {
        "sampling": {n: 1000 * took / 8 / 5 for n, took in drawing.items()},
        "training_step": {n: 1000 * took / 8 for n, took in training.items()},
    }


def by_batch(repeats: int) -> dict[int, float]:
    """Sampling 64 digits in 10 steps by batches of 1 to 64: milliseconds an image and step."""
    mean = DIGITS.spec.build().freeze()
    found = in_turn({batch: sampling(mean, 64, batch, 10) for batch in (1, 4, 16, 64)}, repeats)
    return {batch: 1000 * took / 64 / 10 for batch, took in found.items()}


def by_steps(repeats: int) -> dict[int, float]:
    """Sampling 64 digits in K steps: milliseconds an image and step."""
    mean = DIGITS.spec.build().freeze()
    found = in_turn({K: sampling(mean, 64, 64, K) for K in (5, 10, 50, 100)}, repeats)
    return {K: 1000 * took / 64 / K for K, took in found.items()}


def by_times(repeats: int) -> dict[int, float]:
    """Seconds of one sweep of 500 digits for table and spectrum, where the schedule has T = 100, 1000 and 4000."""

    def sweep(T: int) -> Callable[[], object]:
        data = DIGITS.spec.reading.data
        mean = MeanSpec(DIGITS.network, Reading(NoiseSchedule.linear(T), data, TimeConvention())).build().freeze()
        examples = random_examples(DIGITS.spec)
        return lambda: smooth_sweep(mean, examples, [VarianceTable, Spectrum], Goal(rtol=None, calls=500))

    return in_turn({T: sweep(T) for T in (100, 1000, 4000)}, max(1, repeats // 2))


def main() -> None:
    """Take every measurement and print it as JSON."""
    options = asked(__doc__, 5)
    keep_freed_memory()
    report({task.__name__: task(options.repeats) for task in (by_size, by_batch, by_steps, by_times)}, options.out)


if __name__ == "__main__":
    main()
