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

from diffcov.covariance.base import Covariance
from diffcov.diffusion.grid import even
from diffcov.engines.forward import Look, look_along, measure
from diffcov.engines.meters.decomposition import Decomposition, DecompositionMeter, shortest_paths
from diffcov.engines.meters.likelihood import LikelihoodMeter
from diffcov.store.checkpoint import MeanCheckpoint, load_mean
from diffcov.store.datasets import load_images
from diffcov.store.run import Run
from diffcov.study.fitted import available, load_covariance


@torch.inference_mode()
def shared_pass(mean: MeanCheckpoint, covariances: dict[str, Covariance], images: torch.Tensor, repeats: int) -> Any:
    """Bounds of all covariances at 10 steps from one pass (A), and from a pass a covariance (B)."""
    trajectory = even(mean.spec.schedule.T, 10)

    def run(chosen: dict[str, Covariance]) -> None:
        meter = LikelihoodMeter(mean.spec.schedule, mean.spec.data, chosen, [trajectory], images.shape[0])
        measure(mean.model, images, [meter])

    def one_by_one() -> None:
        for name, covariance in covariances.items():
            run({name: covariance})

    return {"covariances": len(covariances), **pair(lambda: run(covariances), one_by_one, repeats)}


@torch.inference_mode()
def terms(mean: MeanCheckpoint, covariance: Covariance, images: torch.Tensor) -> dict[str, float]:
    """Network calls, and the decomposed terms made from them, over all T times."""
    schedule, data = mean.spec.schedule, mean.spec.data
    times = range(1, schedule.T + 1)
    meter = DecompositionMeter(schedule, data, covariance, times, images.shape[0])
    spent = 0.0

    def timed(look: Look) -> None:
        nonlocal spent
        spent += seconds(lambda: meter.add(look))

    def walk() -> None:
        for look in look_along(mean.model, images, times):
            timed(look)

    whole = seconds(walk)
    return {"images": images.shape[0], "network_seconds": whole - spent, "terms_seconds": spent}


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
    mean = load_mean(run.require_mean())
    T = mean.spec.schedule.T
    names = [name for name, lacking in available(run).items() if lacking is None]
    covariances = {
        name: load_covariance(run, name, mean.digest, mean.model.device, range(1, T + 1)).covariance for name in names
    }
    images = load_images(mean.training["data"]["source"], options.images).images
    result = {
        "data": str(mean.spec.data),
        "shared_pass": shared_pass(mean, covariances, images, options.repeats),
        "terms": {name: terms(mean, covariances[name], images[:25]) for name in names if name in ("corrected", "npr")},
        "search": search(T, options.repeats),
    }
    report(result, options.out)


if __name__ == "__main__":
    main()
