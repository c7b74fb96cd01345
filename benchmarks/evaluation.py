"""What evaluation costs: one shared pass against one a covariance, and the trajectory search apart from the network.

Run: python benchmarks/evaluation.py RUN [--repeats N] [--out benchmarks/results/evaluation-NAME.json]
RUN is a finished run (mean, table, heads) of any data.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import torch
from timing import pair, report, seconds

from diffcov import (
    Covariance,
    Denoiser,
    Examples,
    LikelihoodMeter,
    Noised,
    Run,
    View,
    even,
    look_along,
    measure,
    through,
)
from diffcov.engines.meters.decomposition import Decomposition, DecompositionMeter, shortest_paths


@torch.inference_mode()
def shared_pass(mean: Denoiser, covariances: dict[str, Covariance], examples: Examples, repeats: int) -> Any:
    """Bounds of all covariances at 10 steps from one pass (A), and from a pass a covariance (B)."""
    grid = even(mean.schedule.T, 10)

    def run(chosen: dict[str, Covariance]) -> None:
        meter = LikelihoodMeter(mean.schedule, mean.data, chosen, [grid], len(examples))
        measure(mean, examples, [meter])

    def one_by_one() -> None:
        for name, covariance in covariances.items():
            run({name: covariance})

    return {"covariances": len(covariances), **pair(lambda: run(covariances), one_by_one, repeats)}


@torch.inference_mode()
def terms(mean: Denoiser, covariance: Covariance, examples: Examples) -> dict[str, float]:
    """Network calls, and the decomposed terms made from them, over all T times."""
    times = range(1, mean.schedule.T + 1)
    meter = DecompositionMeter(mean.schedule, mean.data, covariance, times, len(examples))
    spent = 0.0

    def timed(noised: Noised) -> None:
        nonlocal spent
        spent += seconds(lambda: meter.add(noised))

    def walk() -> None:
        for noised in look_along(mean, examples, times):
            timed(noised)

    whole = seconds(walk)
    return {"images": len(examples), "network_seconds": whole - spent, "terms_seconds": spent}


def search(T: int, repeats: int) -> dict[str, float]:
    """Dynamic programming for every K = 1..T over random terms."""
    generator = torch.Generator().manual_seed(0)
    size = T + 1
    possible = torch.ones(size, size, dtype=torch.bool).triu(1)
    table = torch.rand(size, size, dtype=torch.float64, generator=generator).masked_fill(~possible, math.inf)
    prior = torch.rand(size, dtype=torch.float64, generator=generator)
    prior[0] = math.inf
    found = Decomposition(T, 1, torch.arange(1, size), table, prior)
    return {"T": T, "seconds": statistics.median(seconds(lambda: shortest_paths(found)) for _ in range(repeats))}


def main() -> None:
    """Take every measurement and print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    run = Run(options.run)
    mean, examples = through(run.mean, View(clip_x0=True)), run.examples(limit=options.images)
    names = [name for name, lacking in run.folder.available().items() if lacking is None]
    covariances = {name: run.covariance(name) for name in names}
    result = {
        "data": str(mean.data),
        "shared_pass": shared_pass(mean, covariances, examples, options.repeats),
        "terms": {
            name: terms(mean, covariances[name], examples[:25]) for name in names if name in ("corrected", "npr")
        },
        "search": search(mean.schedule.T, options.repeats),
    }
    report(result, options.out)


if __name__ == "__main__":
    main()
