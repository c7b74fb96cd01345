"""Which structure of the covariance is worth how many bits/dim: tables that differ in nothing but the basis.

Every table holds one variance a coefficient (or one in all), measured on the same noised training images at the times
of the grid, and is judged on the same held-out images by the exact bound.

Run: python benchmarks/structures.py RUN [--steps K] [--samples N] [--images M] [--out FILE]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from bases import block_cosine, haar
from timing import report
from torch import Tensor

from diffcov import (
    Covariance,
    Denoiser,
    Diagonal,
    Examples,
    LikelihoodMeter,
    Look,
    Noised,
    NoiseSchedule,
    ResidualMatrices,
    Run,
    View,
    even,
    measure,
    through,
)
from diffcov.basis import PIXEL, Basis, Dense, cosine
from diffcov.covariance.ingredients import Ingredients
from diffcov.statistics.knots import Knots

BasisAt = Callable[[int], Basis]


class Tabled(Covariance):
    """A variance a coefficient of some basis, one table a time."""

    name, summary, formula, reference = "tabled", "a benchmark's", "r var", "benchmarks"

    def __init__(self, mean: Denoiser, basis: BasisAt, var_eps: dict[int, Tensor]) -> None:
        super().__init__(Ingredients(mean.schedule, mean.data))
        self.basis, self.var_eps = basis, var_eps

    def unbounded(self, look: Look) -> Diagonal:
        return Diagonal(self.basis(look.time), float(self.schedule.ratio[look.time]) * self.var_eps[look.time])


class Kept:
    """A meter that keeps the error of eps_hat by time."""

    def __init__(self, times: tuple[int, ...]) -> None:
        self.times = times
        self.parts: dict[int, list[Tensor]] = {t: [] for t in times}

    def add(self, noised: Noised) -> None:
        """One batch."""
        self.parts[noised.look.time].append(noised.residual)


def residuals(mean: Denoiser, examples: Examples, times: tuple[int, ...], samples: int) -> dict[int, Tensor]:
    """(N, C, H, W) float64 error of the clipped mean's eps_hat, by time."""
    meter, repeats = Kept(times), -(-samples // len(examples))
    for seed in range(1, repeats + 1):
        chosen = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed))
        measure(mean, examples[chosen[: samples - (seed - 1) * len(examples)]], [meter], seed=seed)
    return {t: torch.cat(parts) for t, parts in meter.parts.items()}


def tables(mean: Denoiser, found: dict[int, Tensor], images: Tensor) -> dict[str, Covariance]:
    """Every structure, from the simplest."""
    shape = mean.data.shape
    plain = cosine(*shape, torch.eye(shape[0], dtype=torch.float64))
    fixed: dict[str, Basis] = {
        "per pixel": PIXEL,
        "cosines, channels as they are": plain,
        "Haar": haar(*shape),
        "cosines of blocks of half the side": block_cosine(*shape, 2),
        "cosines": cosine(*shape),
        "principal axes of the data": principal_axes(images, shape),
    }
    out = {"one scalar": Tabled(mean, lambda t: PIXEL, {t: r.square().mean() for t, r in found.items()})}
    for name, basis in fixed.items():
        table = {t: basis.forward(r).square().mean(0) for t, r in found.items()}
        out[name] = Tabled(mean, lambda t, basis=basis: basis, table)
    for name, shrunk in (("full, not shrunk", False), ("full, shrunk to cosines", True)):
        bases, table = {}, {}
        for t, r in found.items():
            bases[t], table[t] = eigen(r, shape, shrunk)
        out[name] = Tabled(mean, lambda t, bases=bases: bases[t], table)
    return out


def principal_axes(images: Tensor, shape: tuple[int, int, int]) -> Dense:
    """Eigenvectors of the images' covariance."""
    flat = images[:20000].flatten(1).double()
    _, vectors = torch.linalg.eigh(torch.cov(flat.T))
    return Dense(vectors.T.flip(0), shape)


def eigen(r: Tensor, shape: tuple[int, int, int], shrunk: bool) -> tuple[Dense, Tensor]:
    """Basis and variances of the residuals' full second moment at one time."""
    if not shrunk:
        flat = r.flatten(1)
        variances, vectors = torch.linalg.eigh(flat.T @ flat / len(flat))
        return Dense(vectors.T, shape), variances.clamp(min=1e-12).reshape(shape)
    matrices = ResidualMatrices.empty(Knots((1,)), shape, cosine(*shape).colour)
    matrices.add(0, matrices.basis.forward(r))
    return matrices.diagonal(NoiseSchedule.linear(1000), 1)


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--samples", type=int, default=4096)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    run = Run(given.run)
    mean, training = through(run.mean, View(clip_x0=True)), run.examples()
    held_out, grid = run.held_out(limit=given.images), even(mean.schedule.T, given.steps)
    structures = tables(mean, residuals(mean, training, grid.times, given.samples), training.images)
    meter = LikelihoodMeter(mean.schedule, mean.data, structures, [grid], len(held_out))
    measure(mean, held_out, [meter])
    bits = {name: meter.result(name, grid).bits_per_dim().mean for name in structures}
    setting = {"run": str(given.run), "steps": given.steps, "samples": given.samples, "images": given.images}
    report({**setting, "bits_per_dim": bits}, given.out)


if __name__ == "__main__":
    main()
