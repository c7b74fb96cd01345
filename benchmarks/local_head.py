"""A form that was tried beside the banded head: amplitudes that differ from place to place.

The basis is that of cosines within each block of the image (quarters by default), so coefficients know where they are.
A table holds their variances, and the banded head's own network, on the features of each block, predicts amplitudes
there. Likelihood stays exact. `banded` of the same run stands beside it, each drawn at scale 1 and at a fitted scale.

Run: python benchmarks/local_head.py RUN [--blocks N] [--iterations N] [--images M] [--steps 10] [--count N]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from bases import block_cosine
from torch import Tensor, nn

from diffcov import (
    Covariance,
    Denoiser,
    Diagonal,
    LikelihoodMeter,
    Look,
    MeanModel,
    Noised,
    Run,
    Sampler,
    View,
    even,
    measure,
    through,
)
from diffcov.basis import Basis
from diffcov.covariance.ingredients import Ingredients
from diffcov.denoiser.clipped import Clipped
from diffcov.engines.training.batches import NoisyBatches
from diffcov.engines.training.losses import likelihood
from diffcov.nets.band_net import BandNet
from diffcov.nets.ema import EMA
from diffcov.nets.features import Features as NetFeatures
from diffcov.statistics.knots import Knots
from diffcov.study.contrast_scale import fit_scale, scaled
from diffcov.study.drawn import draw
from diffcov.study.judging import open_against
from diffcov.study.requests.shared import Features


class Local(nn.Module):
    """The banded network on each block's own features."""

    def __init__(self, features: int, embedding: int, shape: tuple[int, int, int], blocks: int) -> None:
        super().__init__()
        channels, height, width = shape
        self.blocks = blocks
        self.net = BandNet(features, embedding, (channels, height // blocks, width // blocks))

    def forward(self, features: NetFeatures) -> Tensor:
        """(B, C, H, W) log amplitudes."""
        activations, embedding = features
        B, F, H, W = activations.shape
        n = self.blocks
        h, w = H // n, W // n
        cut = activations.reshape(B, F, n, h, n, w).permute(0, 2, 4, 1, 3, 5).reshape(-1, F, h, w)
        out: Tensor = self.net(NetFeatures(cut, embedding.repeat_interleave(n**2, 0)))
        C = out.shape[1]
        return out.reshape(B, n, n, C, h, w).permute(0, 3, 1, 4, 2, 5).reshape(B, C, H, W)


class LocalBands(Covariance):
    """Table times the local head's amplitudes; without a head, the table."""

    name, summary, formula, reference = "local", "a benchmark's", "r var a(x_t, t)", "benchmarks"

    def __init__(self, mean: Denoiser, basis: Basis, knots: Knots, told: Tensor, head: nn.Module | None) -> None:
        super().__init__(Ingredients(mean.schedule, mean.data))
        self.basis, self.knots, self.log_mean, self.head = basis, knots, told.log(), head

    def table(self, t: Tensor) -> Tensor:
        """(B, C, H, W) float64."""
        flat = (self.knots.weights(self.schedule, t) @ self.log_mean.flatten(1)).exp()
        return flat.reshape(len(t), *self.log_mean.shape[1:])

    def unbounded(self, look: Look) -> Diagonal:
        var = float(self.schedule.ratio[look.time]) * self.table(torch.tensor([look.time]))[0]
        return Diagonal(self.basis, var if self.head is None else var * self.head(look.features).exp())


class Squares:
    """A meter of squared coefficients of the error in some basis, by time."""

    def __init__(self, times: tuple[int, ...], basis: Basis) -> None:
        self.times, self.basis = times, basis
        self.sums: dict[int, Tensor] = {}
        self.count = 0

    def add(self, noised: Noised) -> None:
        """One batch."""
        t, found = noised.look.time, self.basis.forward(noised.residual).square().sum(0)
        self.sums[t] = self.sums.get(t, torch.zeros_like(found)) + found
        self.count += len(noised.x_0)

    def mean(self) -> Tensor:
        """(M, C, H, W) float64."""
        return torch.stack([self.sums[t] for t in self.times]) / (self.count / len(self.times))


def fit(mean: MeanModel, table: LocalBands, batches: NoisyBatches, iterations: int, blocks: int) -> nn.Module:
    """By the likelihood, as heads are fitted."""
    clipped = Clipped(mean)
    torch.manual_seed(0)
    head = Local(mean.feature_channels, mean.embedding_width, mean.data.shape, blocks)
    ema, adam = EMA(head, 0.999), torch.optim.AdamW(head.parameters(), lr=5e-3, weight_decay=0.0)
    for n in range(iterations):
        batch = batches.at(n)
        with torch.no_grad():
            look = clipped.look(batch.x_t, batch.t)
            error = Noised(mean.schedule, batch.x_0, batch.eps, look).residual
            target = table.basis.forward(error).square() / table.table(batch.t).float()
        loss = likelihood(head(look.features).exp(), target).mean()
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        adam.step()
        ema.update(head)
    return ema.module


def main() -> None:
    """Measure, fit, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--blocks", type=int, default=2, help="along each side")
    parser.add_argument("--iterations", type=int, default=600)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--steps", default="10")
    parser.add_argument("--count", type=int, default=1000)
    given = parser.parse_args()
    run = Run(given.run)
    mean, training, held_out = run.mean, run.examples(), run.held_out(limit=given.images)
    flip, clipped = bool(run.checkpoint.settings["flip"]), through(mean, View(clip_x0=True))
    basis, knots = block_cosine(*mean.data.shape, given.blocks), Knots.spread(mean.schedule, 24)
    squares = Squares(knots.times, basis)
    measure(clipped, training[torch.randperm(len(training))[:600]], [squares], seed=1)
    table = LocalBands(mean, basis, knots, squares.mean(), None)
    batches = NoisyBatches(training, mean.data, mean.schedule, 128, flip, 0)
    head = fit(mean, table, batches, given.iterations, given.blocks)
    forms: dict[str, Covariance] = {
        "local table": table,
        "local head": LocalBands(mean, basis, knots, squares.mean(), head),
        "banded": run.covariance("banded"),
    }
    grids = [even(mean.schedule.T, K) for K in map(int, given.steps.split(","))]
    meter = LikelihoodMeter(mean.schedule, mean.data, forms, grids, len(held_out))
    measure(clipped, held_out, [meter])
    against = open_against(Features("classifier"), run.folder, run.checkpoint, given.count, run.listener, None)
    for name, covariance in forms.items():
        for grid in grids:
            bits = meter.result(name, grid).bits_per_dim().mean
            print(f"{name}, {grid.K} steps: {bits:.4f} bits/dim", flush=True)  # noqa: T201
            if name == "local table":
                continue
            for solver in ("ddpm", "ddim"):
                sampler = Sampler.of(clipped, covariance, steps=grid.K, solver=solver)
                scale = fit_scale(sampler, mean, training.images, count=256).scale
                fids = []
                for eps_scale in dict.fromkeys((1.0, scale)):
                    drawn = draw(scaled(sampler, mean, eps_scale), given.count, against, batch_size=250)
                    assert drawn.distances is not None
                    fids.append(f"{drawn.distances.fid:.3f} at scale {eps_scale:.4f}")
                print(f"  {solver}: fid@{given.count} {', '.join(fids)}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
