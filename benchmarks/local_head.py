"""A form that was tried beside the banded head: amplitudes that differ from place to place.

The basis is that of cosines within each block of the image (quarters by default), so coefficients know where they are.
A table holds their variances, and the banded head's own network, on the features of each block, predicts amplitudes
there. Likelihood stays exact. `banded` of the same run stands beside it, each drawn at scale 1 and at a fitted scale.

Run: python benchmarks/local_head.py RUN [--blocks N] [--iterations N] [--images M] [--steps 10] [--count N]
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Self

import torch
from bases import block_cosine
from torch import Tensor, nn

from diffcov.basis import Basis
from diffcov.cli.feature_space import open_features, open_reference
from diffcov.cli.opening import open_training_images
from diffcov.covariance.base import Covariance, Fitted
from diffcov.covariance.clipping import default_cap_levels
from diffcov.denoiser.prediction import Prediction
from diffcov.diffusion.grid import even
from diffcov.diffusion.process import DDIM, DDPM, clipped_eps
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.forward import measure
from diffcov.engines.meters.likelihood import LikelihoodMeter
from diffcov.engines.sampling import Sampler
from diffcov.engines.sweep.noised import Sweep
from diffcov.engines.training.batches import NoisyBatches
from diffcov.engines.training.losses import likelihood
from diffcov.nets.band_net import BandNet
from diffcov.nets.ema import EMA
from diffcov.nets.features import Features
from diffcov.statistics.knots import Knots
from diffcov.store.checkpoint import MeanCheckpoint, load_mean
from diffcov.store.datasets import load_images
from diffcov.store.run import Run
from diffcov.study.draw import draw
from diffcov.study.fitted import load_covariance
from diffcov.study.scale import fit_eps_scale


class Local(nn.Module):
    """The banded network on each block's own features."""

    def __init__(self, features: int, embedding: int, shape: tuple[int, int, int], blocks: int) -> None:
        super().__init__()
        channels, height, width = shape
        self.blocks = blocks
        self.net = BandNet(features, embedding, (channels, height // blocks, width // blocks))

    def forward(self, features: Features) -> Tensor:
        """(B, C, H, W) log amplitudes."""
        activations, embedding = features
        B, F, H, W = activations.shape
        n = self.blocks
        h, w = H // n, W // n
        cut = activations.reshape(B, F, n, h, n, w).permute(0, 2, 4, 1, 3, 5).reshape(-1, F, h, w)
        out: Tensor = self.net(Features(cut, embedding.repeat_interleave(n**2, 0)))
        C = out.shape[1]
        return out.reshape(B, n, n, C, h, w).permute(0, 3, 1, 4, 2, 5).reshape(B, C, H, W)


class LocalBands(Covariance):
    """Table times the local head's amplitudes; without a head, the table."""

    name, needs, summary, formula, reference = "local", frozenset(), "a benchmark's", "r var a(x_t, t)", "benchmarks"

    def __init__(self, basis: Basis, knots: Knots, mean: Tensor, head: nn.Module | None) -> None:
        self.basis, self.knots, self.log_mean, self.head = basis, knots, mean.log(), head

    @classmethod
    def build(cls, fitted: Fitted) -> Self:
        raise NotImplementedError("made by the benchmark")

    def basis_at(self, schedule: NoiseSchedule, t: int) -> Basis:
        return self.basis

    def table(self, schedule: NoiseSchedule, t: Tensor) -> Tensor:
        """(B, C, H, W) float64."""
        flat = (self.knots.weights(schedule, t) @ self.log_mean.flatten(1)).exp()
        return flat.reshape(len(t), *self.log_mean.shape[1:])

    def var_x0(self, schedule: NoiseSchedule, t: int, prediction: Prediction) -> Tensor:
        var = float(schedule.ratio[t]) * self.table(schedule, torch.tensor([t]))[0]
        return var if self.head is None else var * self.head(prediction.features).exp()


@torch.inference_mode()
def measured(mean: MeanCheckpoint, images: Tensor, knots: Knots, samples: int, basis: Basis, flip: bool) -> Tensor:
    """(M, C, H, W) float64 mean squared coefficients of the clipped mean's error."""
    sweep, data = Sweep(mean.model, images, 0, flip, "residuals"), mean.spec.data
    out = []
    for t in knots.times:
        x_t, eps, eps_hat = sweep.predict([(t, k) for k in range(samples)])
        clipped = clipped_eps(mean.spec.schedule, x_t.double(), t, eps_hat.double(), data.low, data.high)
        out.append(basis.forward(eps.double() - clipped).square().mean(0))
    return torch.stack(out)


def fit(mean: MeanCheckpoint, table: LocalBands, batches: NoisyBatches, iterations: int, blocks: int) -> nn.Module:
    """By the likelihood, as heads are fitted."""
    model, data = mean.model, mean.spec.data
    torch.manual_seed(0)
    head = Local(model.feature_channels, model.embedding_width, data.shape, blocks)
    ema, adam = EMA(head, 0.999), torch.optim.AdamW(head.parameters(), lr=5e-3, weight_decay=0.0)
    for n in range(iterations):
        batch = batches.at(n)
        with torch.no_grad():
            eps_hat, features = model.predict(batch.x_t, batch.t)
            clipped = clipped_eps(model.schedule, batch.x_t, batch.t, eps_hat, data.low, data.high)
            target = table.basis.forward(batch.eps - clipped).square() / table.table(model.schedule, batch.t).float()
        loss = likelihood(head(features).exp(), target).mean()
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
    mean = load_mean(run.mean)
    training, provenance = open_training_images(mean, None, None)
    held_out = load_images(mean.training["data"]["source"], given.images, "test").images
    schedule, data, flip = mean.spec.schedule, mean.spec.data, bool(mean.training["settings"]["flip"])
    basis, knots = block_cosine(*data.shape, given.blocks), Knots.spread(schedule, 24)
    found = measured(mean, training, knots, 600, basis, flip)
    table = LocalBands(basis, knots, found, None)
    batches = NoisyBatches(training, data, schedule, 128, flip, 0)
    forms: dict[str, Covariance] = {
        "local table": table,
        "local head": LocalBands(basis, knots, found, fit(mean, table, batches, given.iterations, given.blocks)),
        "banded": load_covariance(run, "banded", mean.digest, mean.model.device, range(1, schedule.T + 1)).covariance,
    }
    trajectories = [even(schedule.T, K) for K in map(int, given.steps.split(","))]
    meter = LikelihoodMeter(schedule, data, forms, trajectories, len(held_out))
    measure(mean.model, held_out, [meter])
    space = open_features("classifier", run, mean, mean.model.device)
    reference = open_reference(space, run, training, provenance, None)
    for name, covariance in forms.items():
        for trajectory in trajectories:
            bits = meter.result(name, trajectory).bits_per_dim().mean
            print(f"{name}, {trajectory.K} steps: {bits:.4f} bits/dim", flush=True)  # noqa: T201
            if name == "local table":
                continue
            for process in (DDPM(), DDIM()):
                sampler = Sampler(covariance, process, trajectory, default_cap_levels(schedule, process))
                scale = fit_eps_scale(mean.model, sampler, training, count=256).scale
                fids = []
                for eps_scale in dict.fromkeys((1.0, scale)):
                    scaled = replace(sampler, eps_scale=eps_scale)
                    drawn = draw(mean.model, scaled, given.count, (space, reference), batch_size=250)
                    assert drawn.distances is not None
                    fids.append(f"{drawn.distances.fid:.3f} at scale {eps_scale:.4f}")
                print(f"  {process.name}: fid@{given.count} {', '.join(fids)}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
