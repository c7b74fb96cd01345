"""How exact x0_hat of a v network is in float32, at every time: straight from v, and by a detour through eps.

Run: python benchmarks/precision.py RUN [--out FILE]
RUN is a run of a mean trained with --predict v. Errors are in units of x_0, against the same weights in float64.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import torch
from timing import report
from torch import Tensor

from diffcov import GivenNoise, MeanModel, Run
from diffcov.diffusion.level import Level, q_sample


@torch.inference_mode()
def errors(mean: MeanModel, exact: MeanModel, x_0: Tensor) -> dict[str, float]:
    """The largest error over images, pixels and all times, and the time where it is."""
    noise = GivenNoise([torch.randn(x_0.shape, generator=torch.Generator().manual_seed(0))]).draw()
    found: dict[str, list[float]] = {"network alone": [], "straight": [], "through eps": []}
    for t in range(1, mean.schedule.T + 1):
        level = Level.at(mean.schedule, t, x_0)
        x_t = q_sample(mean.schedule, x_0, t, noise)
        look, truth = mean.look(x_t, t), exact.look(x_t.double(), t)
        detour = (x_t - level.noise * look.eps_hat) / level.signal
        v, v_exact = mean.output(x_t, t), exact.output(x_t.double(), t)
        found["network alone"].append(float(level.noise * (v.double() - v_exact).abs().max()))
        found["straight"].append(float((look.x0_hat.double() - truth.x0_hat).abs().max()))
        found["through eps"].append(float((detour.double() - truth.x0_hat).abs().max()))
    largest = {name: max(values) for name, values in found.items()}
    return {**largest, **{f"{name}, at t": 1 + values.index(max(values)) for name, values in found.items()}}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    run = Run(given.run)
    exact = copy.deepcopy(run.mean).double().freeze()
    x_0 = run.mean.data.encode(run.held_out(limit=32).images)
    report({"largest error of x0_hat": errors(run.mean, exact, x_0)}, given.out)


if __name__ == "__main__":
    main()
