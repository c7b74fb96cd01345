"""Samplers where the mean is exact: pixels are draws of a one-dimensional mixture; distances are the samplers' own.

Run: python benchmarks/mixture_world.py [--count 4000] [--out FILE]
The mean is E[x_0 | x_t] in closed form, so nothing of what follows is a network's error. Distances are Wasserstein-1 of
all pixels to the mixture's quantiles, in units of its standard deviation; the table and spectrum are measured as ever.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from timing import report
from torch import Tensor, nn

from diffcov import MeanModel, NoiseSchedule
from diffcov.covariance.registry import make_covariance
from diffcov.data import DataDescription, Examples
from diffcov.denoiser.time import TimeConvention
from diffcov.diffusion.grids import make_grid
from diffcov.engines.recipe import LITERATURE
from diffcov.engines.sampler import Sampler
from diffcov.engines.sampling import sample
from diffcov.engines.sweep import estimate
from diffcov.noise import ImageNoise
from diffcov.solver.registry import make_solver
from diffcov.statistics.knots import Knots
from diffcov.statistics.spectrum import Spectrum
from diffcov.statistics.table import VarianceTable

WEIGHTS, MEANS, STDS = (0.3, 0.7), (-0.7, 0.4), (0.1, 0.2)
DATA = DataDescription(1, 4, 4)
SCHEDULE = NoiseSchedule.linear(1000)
GRIDS = ("even", "quad", "logsnr", "edm")
STEPS = (5, 10, 25, 50)


class ExactMean(nn.Module):
    """eps_hat of the mixture, in float64."""

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        """E[eps | x_t] per pixel."""
        abar = SCHEDULE.alpha_bar[times.long()].reshape(-1, 1, 1, 1, 1)
        means, variances = (torch.tensor(one, dtype=torch.float64) for one in (MEANS, [s * s for s in STDS]))
        total = abar * variances + 1 - abar
        away = x.double()[..., None] - abar.sqrt() * means
        logs = torch.tensor(WEIGHTS, dtype=torch.float64).log() - away.square() / total / 2 - total.log() / 2
        x_0 = (logs.softmax(-1) * (means + abar.sqrt() * variances / total * away)).sum(-1)
        abar = abar[..., 0]
        return ((x.double() - abar.sqrt() * x_0) / (1 - abar).sqrt()).to(x.dtype)


def truth(count: int) -> Tensor:
    """The mixture's quantiles at (i + 1/2) / count, by bisection."""
    wanted = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    low, high = torch.full_like(wanted, -3), torch.full_like(wanted, 3)
    for _ in range(60):
        middle = (low + high) / 2
        below = sum(
            w * 0.5 * (1 + torch.erf((middle - m) / (s * math.sqrt(2))))
            for w, m, s in zip(WEIGHTS, MEANS, STDS, strict=True)
        )
        low, high = torch.where(below < wanted, middle, low), torch.where(below < wanted, high, middle)
    return (low + high) / 2


def distance(sampler: Sampler, count: int) -> float:
    """W1 to the mixture, in its standard deviations."""
    noise = ImageNoise(0, range(count), DATA.shape, torch.device("cpu"), "sample", torch.float64)
    found = sample(sampler, noise).flatten().sort().values
    quantiles = truth(len(found))
    return float((found - quantiles).abs().mean() / quantiles.std())


def main() -> None:
    """Measure every row on every grid, and print as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    draw = torch.Generator().manual_seed(0)
    chosen = torch.multinomial(torch.tensor(WEIGHTS), 2000 * DATA.dims, replacement=True, generator=draw)
    x_0 = torch.tensor(MEANS)[chosen] + torch.tensor(STDS)[chosen] * torch.randn(len(chosen), generator=draw)
    levels = ((x_0.clamp(-1, 1) + 1) / 2 * 255).round().to(torch.uint8).reshape(-1, *DATA.shape)
    mean = MeanModel.of(ExactMean(), predicts="eps", schedule=SCHEDULE, data=DATA, time=TimeConvention(0.0, 1.0))
    examples, times = Examples(levels), tuple(range(1, SCHEDULE.T + 1))
    table = estimate(mean, examples, [VarianceTable], times, 100)[VarianceTable]
    spectrum = estimate(mean, examples, [Spectrum], Knots.spread(SCHEDULE, 32).times, 2000)[Spectrum]
    known = {"table": table, "spectrum": spectrum}
    rows = []
    for K in STEPS:
        for name, recipe in LITERATURE.items():
            if recipe.covariance not in ("small", "large", "analytic", "corrected", "spectral"):
                continue  # heads: the mixture's own variance would be one
            covariance = make_covariance(recipe.covariance, mean, table, spectrum)
            solver = make_solver(recipe.solver, **recipe.of_solver)
            for grid in GRIDS:
                sampler = Sampler(mean, covariance, solver.given(known), make_grid(grid, SCHEDULE, K), cap_levels=None)
                rows.append({"sampler": name, "grid": grid, "steps": K, "w1": distance(sampler, given.count)})
    report({"count": given.count * DATA.dims, "rows": rows}, given.out)


if __name__ == "__main__":
    main()
