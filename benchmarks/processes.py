"""What a second process is worth: the same work by one process of one thread (A) and by two of one thread each (B).

Both are taken in turn within one pair of processes, of which the second waits, asleep, while the first works alone.
Beside the wall clock stands the processor's: time that the busiest process has worked, which other programs on the
machine stretch less, and which does not know of waiting for one another.

Run: python benchmarks/processes.py [--repeats N] [--processes N] [--out benchmarks/results/processes-NAME.json]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from speed import batches_of, photographs, random_examples, session_for, steps
from timing import report

from diffcov import Sampler, VarianceTable, View, draw, estimate, even, make_covariance, through
from diffcov.engines.smooth_sweep import Goal, smooth_sweep
from diffcov.processes.base import ALONE, Processes, current, working
from diffcov.processes.joined import joined
from diffcov.runtime import keep_freed_memory
from diffcov.statistics.registry import load_all

BATCH, IMAGES, STEPS, CALLS = 64, 128, 10, 1024
"""Of training and of every network call; samples, and their steps; images of a sweep."""


def tasks() -> dict[str, Callable[[], object]]:
    """What is timed: a 1.7 M U-Net at 32x32, random images."""
    spec = photographs()
    mean = spec.build().freeze()
    with torch.no_grad():
        for parameter in mean.network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)), alpha=0.02)
    examples = random_examples(spec)
    table = estimate(mean, examples, [VarianceTable], even(1000, STEPS).times, 2)[VarianceTable]
    sampler = Sampler.of(through(mean, View(clip_x0=True)), make_covariance("corrected", mean, table), steps=STEPS)
    kinds = [kind for kind in load_all() if kind.unasked(mean.data) and kind.smooths]

    session, _ = session_for(spec, BATCH)

    def train() -> None:
        steps(session, batches_of(spec, BATCH), 2)()  # whose rows are those of whoever trains now

    return {
        "train-mean": train,
        "estimate-var": lambda: smooth_sweep(mean, examples, kinds, Goal(calls=CALLS), batch_size=BATCH),
        "sample": lambda: draw(sampler, IMAGES, batch_size=BATCH),
    }


def seconds(action: Callable[[], object], by: Processes) -> tuple[float, float]:
    """Time of one call by some processes, all others waiting: the wall's, and the busiest one's processor's."""
    ours = current()
    ours.wait()
    started, worked = time.perf_counter(), time.process_time()
    if by is ours or ours.first:
        with working(by):
            action()
    worked = time.process_time() - worked
    ours.wait()
    return time.perf_counter() - started, max(ours.gathered(lambda: worked))


def measured(repeats: int) -> dict[str, object]:
    """Each task's times and the median of the ratios A/B."""
    out: dict[str, object] = {}
    for name, action in tasks().items():
        times = [(seconds(action, ALONE), seconds(action, current())) for _ in range(repeats + 1)][1:]
        ratios = [[one[clock] / all_[clock] for one, all_ in times] for clock in (0, 1)]
        out[name] = {
            "one_seconds": statistics.median(one[0] for one, _ in times),
            "all_seconds": statistics.median(all_[0] for _, all_ in times),
            "ratio": statistics.median(ratios[0]),
            "ratios": [round(ratio, 3) for ratio in ratios[0]],
            "processor_ratio": statistics.median(ratios[1]),
        }
    return out


def main() -> None:
    """Start the processes, or be one of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if "RANK" not in os.environ:
        launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(options.processes)]
        subprocess.run([*launch, *sys.argv], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        return
    keep_freed_memory()
    with joined() as ours:
        found = measured(options.repeats)
        if ours.first:
            report({"processes": ours.size, **found}, options.out)


if __name__ == "__main__":
    main()
