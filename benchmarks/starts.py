"""Starts below T from the Gaussian of the images, beside the same times from noise, and how Gaussian the mean is there.

Run: python benchmarks/starts.py RUN [--steps 5,10] [--samplers deis,dpmpp-2m,unipc,unipc-3,ipndm] [--count 1000]
     [--seed 0] [--out FILE]
RUN holds a mean and what estimate-var measures.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from samplers import Bench
from timing import report

from diffcov.engines.recipe import LITERATURE
from diffcov.gaussian.start import GaussianStart
from diffcov.noise import generator
from diffcov.study.listener import Silent
from diffcov.study.opening import training_examples

ENDS = (1.0, 0.8, 0.7, 0.6, 0.5, 0.4)
"""Where grids end, in shares of T."""


def explained(bench: Bench, start: GaussianStart, t: int, count: int = 1000) -> dict[str, float]:
    """Squared error of eps_hat at t: the network's, and that of the best linear map, which a Gaussian would have."""
    model = bench.samplers.mean.model
    images = training_examples(bench.run.folder, bench.samplers.mean, Silent(), None).examples.images
    draw = generator(0, "explained", t)
    x_0 = model.data.encode(images[torch.randperm(len(images), generator=draw)[:count]])
    eps, signal = torch.randn(x_0.shape, generator=draw), math.sqrt(float(model.schedule.alpha_bar[t]))
    beta_bar = float(model.schedule.beta_bar[t])
    x_t = signal * x_0 + math.sqrt(beta_bar) * eps
    with torch.inference_mode():
        eps_hat = torch.cat([model.look(some, t, None).predicted for some in x_t.split(250)])
    seen = start.basis.forward(x_t.double() - signal * start.mean) / (signal**2 * start.var + beta_bar)
    linear = math.sqrt(beta_bar) * start.basis.inverse(seen)
    return {
        "t": t, "network": float((eps - eps_hat).square().mean()), "linear": float((eps - linear).square().mean()),
        "explained": 1 - float((eps_hat - linear).square().sum() / eps_hat.square().sum()),
    }  # fmt: skip


def main() -> None:
    """Draw every row, and print as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", default="5,10")
    parser.add_argument("--samplers", default="deis,dpmpp-2m,unipc,unipc-3,ipndm")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    bench = Bench(given.run, given.count)
    T = bench.samplers.mean.model.schedule.T
    gaussian = [explained(bench, bench.samplers.gaussian_start, round(share * T)) for share in ENDS]
    rows: list[dict[str, Any] | None] = []
    for K in map(int, given.steps.split(",")):
        for name in given.samplers.split(","):
            for rule, whole in (("even", 1.0), ("quad", 0.8)):
                for share in ENDS:
                    plain = LITERATURE[name]
                    below = replace(plain, grid=rule, start=min(T, round(share / whole * T)))
                    times = below.times(bench.samplers.mean.model.schedule, K).times
                    told: dict[str, Any] = {"sampler": name, "rule": rule, "end": times[-1]}
                    rows.append(bench.row(replace(plain, grid=times), K, given.seed, start="noise", **told))
                    rows.append(bench.row(below, K, given.seed, start="gaussian", **told))
    report({"count": given.count, "seed": given.seed, "gaussian": gaussian, "rows": rows}, given.out)


if __name__ == "__main__":
    main()
