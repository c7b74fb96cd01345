"""The error that is stated of a Frechet distance, beside its spread over repeated draws and beside resampling.

Run: python benchmarks/frechet_error.py [--draws 200] [--out FILE]
Samples and data are Gaussians with variances 1/1, 1/2, .. 1/d; the reference is exact. A second sampler has spreads
3 % larger, and noise that is correlated with the first one's by 0.9, as two covariances under the same seed. Minutes.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from timing import report
from torch import Tensor

from diffcov.engines.distances.error import frechet_influence, standard_error
from diffcov.engines.distances.frechet import Gaussian, frechet_distance

SIZES = ((16, 64), (16, 1000), (64, 128), (64, 200), (64, 1000), (64, 5000))
WORLDS = ((0.0, 1.0), (0.0, 0.9), (0.2, 0.7), (0.0, 1.3))
"""(shift of the mean, factor of the spread), in units of each coordinate's spread."""
WAYS = ("influence", "blocks", "bootstrap")
BLOCKS = 20
RESAMPLES = 30
PAIRING = 0.9
WIDTH = 1.96


def main() -> None:
    """A record a world."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    worlds = [_world(d, n, shift, factor, asked.draws) for d, n in SIZES for shift, factor in WORLDS]
    report({"draws": asked.draws, "worlds": worlds}, asked.out)


def _world(d: int, n: int, shift: float, factor: float, draws: int) -> dict[str, object]:
    torch.manual_seed(1000 * d + n)
    spread = torch.arange(1, d + 1, dtype=torch.float64).rsqrt()
    truth = Gaussian(torch.zeros(d, dtype=torch.float64), spread.square().diag())
    rows = []
    for _ in range(draws):
        noise, other = torch.randn(2, n, d, dtype=torch.float64)
        paired = PAIRING * noise + math.sqrt(1 - PAIRING**2) * other
        mine, theirs = (spread * (shift + wide * z) for wide, z in ((factor, noise), (1.03 * factor, paired)))
        found, influence = _measured(mine, truth)
        beside, its = _measured(theirs, truth)
        again = _resampled(mine, truth)
        errors = standard_error(influence), _by_blocks(mine, truth), float(again.std())
        rows.append((found, beside - found, float(again.mean()), *errors, standard_error(influence - its)))
    value, difference, again_mean, *each, of_difference = torch.tensor(rows, dtype=torch.float64).T
    return {
        "dims": d, "samples": n, "shift": shift, "spread": factor,
        "distance": _spread(value), "resamples_lie_at": float(again_mean.mean()),
        **{name: _stated(value, errors) for name, errors in zip(WAYS, each, strict=True)},
        "paired_difference": {**_spread(difference), **_stated(difference, of_difference)},
    }  # fmt: skip


def _spread(values: Tensor) -> dict[str, float]:
    return {"mean": float(values.mean()), "true_error": float(values.std())}


def _stated(values: Tensor, errors: Tensor) -> dict[str, float]:
    """The mean of the stated errors, and the share of draws within 1.96 of their own from the mean of all."""
    held = (values - values.mean()).abs() < WIDTH * errors
    return {"error": float(errors.mean()), "coverage": float(held.double().mean())}


def _measured(vectors: Tensor, truth: Gaussian) -> tuple[float, Tensor]:
    own = Gaussian.of(vectors)
    return frechet_distance(own, truth), frechet_influence(vectors, own, truth)


def _by_blocks(vectors: Tensor, truth: Gaussian) -> float:
    """The jackknife that leaves out a block at a time."""
    block = torch.arange(len(vectors)) % BLOCKS
    left = torch.tensor([frechet_distance(Gaussian.of(vectors[block != one]), truth) for one in range(BLOCKS)])
    return math.sqrt((BLOCKS - 1) * float(left.var(correction=0)))


def _resampled(vectors: Tensor, truth: Gaussian) -> Tensor:
    chosen = torch.randint(len(vectors), (RESAMPLES, len(vectors)))
    return torch.tensor([frechet_distance(Gaussian.of(vectors[one]), truth) for one in chosen])


if __name__ == "__main__":
    main()
