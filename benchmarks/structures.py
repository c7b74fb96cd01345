"""Which structure of the covariance is worth how many bits/dim: tables that differ in nothing but the basis.

Every table holds one variance a coefficient (or one in all), measured on the same noised training images at the times
of the trajectory, and is judged on the same held-out images by the exact bound.

Run: python benchmarks/structures.py RUN [--steps K] [--samples N] [--images M] [--out FILE]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Self

import torch
from bases import block_cosine, haar
from timing import report
from torch import Tensor

from diffcov.basis import PIXEL, Basis, Dense, cosine
from diffcov.covariance.base import Covariance, Fitted
from diffcov.denoiser.prediction import Prediction
from diffcov.diffusion.grid import even
from diffcov.diffusion.process import clipped_eps
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.forward import measure
from diffcov.engines.meters.likelihood import LikelihoodMeter
from diffcov.engines.sweep.noised import Sweep
from diffcov.statistics.knots import Knots
from diffcov.statistics.matrices import ResidualMatrices
from diffcov.store.checkpoint import MeanCheckpoint, load_mean
from diffcov.store.datasets import load_images
from diffcov.store.run import Run

BasisAt = Callable[[int], Basis]


class Tabled(Covariance):
    """A variance a coefficient of some basis, one table a time."""

    name, needs, summary, formula, reference = "tabled", frozenset(), "a benchmark's", "r var", "benchmarks"

    def __init__(self, basis: BasisAt, var_eps: dict[int, Tensor]) -> None:
        self.basis, self.var_eps = basis, var_eps

    @classmethod
    def build(cls, fitted: Fitted) -> Self:
        raise NotImplementedError("made by the benchmark")

    def basis_at(self, schedule: NoiseSchedule, t: int) -> Basis:
        return self.basis(t)

    def var_x0(self, schedule: NoiseSchedule, t: int, prediction: Prediction) -> Tensor:
        return float(schedule.ratio[t]) * self.var_eps[t]


@torch.inference_mode()
def residuals(
    mean: MeanCheckpoint, images: Tensor, times: tuple[int, ...], samples: int, flip: bool
) -> dict[int, Tensor]:
    """(N, C, H, W) float64 error of the clipped mean's eps_hat, by time."""
    sweep, data = Sweep(mean.model, images, 0, flip, "structures"), mean.spec.data
    out = {}
    for t in times:
        parts = []
        for start in range(0, samples, 256):
            x_t, eps, eps_hat = sweep.predict([(t, k) for k in range(start, min(start + 256, samples))])
            clipped = clipped_eps(mean.spec.schedule, x_t.double(), t, eps_hat.double(), data.low, data.high)
            parts.append(eps.double() - clipped)
        out[t] = torch.cat(parts)
    return out


def tables(found: dict[int, Tensor], images: Tensor, shape: tuple[int, int, int]) -> dict[str, Tabled]:
    """Every structure, from the simplest."""
    plain = cosine(*shape, torch.eye(shape[0], dtype=torch.float64))
    fixed: dict[str, Basis] = {
        "per pixel": PIXEL,
        "cosines, channels as they are": plain,
        "Haar": haar(*shape),
        "cosines of blocks of half the side": block_cosine(*shape, 2),
        "cosines": cosine(*shape),
        "principal axes of the data": principal_axes(images, shape),
    }
    out = {"one scalar": Tabled(lambda t: PIXEL, {t: r.square().mean() for t, r in found.items()})}
    for name, basis in fixed.items():
        table = {t: basis.forward(r).square().mean(0) for t, r in found.items()}
        out[name] = Tabled(lambda t, basis=basis: basis, table)
    for name, shrunk in (("full, not shrunk", False), ("full, shrunk to cosines", True)):
        bases, table = {}, {}
        for t, r in found.items():
            bases[t], table[t] = eigen(r, shape, shrunk)
        out[name] = Tabled(lambda t, bases=bases: bases[t], table)
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
    mean = load_mean(Run(given.run).mean)
    source = mean.training["data"]["source"]
    training, held_out = load_images(source).images, load_images(source, given.images, "test").images
    schedule, data = mean.spec.schedule, mean.spec.data
    trajectory = even(schedule.T, given.steps)
    flip = bool(mean.training["settings"]["flip"])
    found = residuals(mean, training, trajectory.times, given.samples, flip)
    structures = tables(found, training, data.shape)
    meter = LikelihoodMeter(schedule, data, structures, [trajectory], len(held_out))
    measure(mean.model, held_out, [meter])
    bits = {name: meter.result(name, trajectory).bits_per_dim().mean for name in structures}
    setting = {"run": str(given.run), "steps": given.steps, "samples": given.samples, "images": given.images}
    report({**setting, "bits_per_dim": bits}, given.out)


if __name__ == "__main__":
    main()
