"""A mean model that strangers trained: their network in our words, and what becomes of it here.

The network is the small U-Net of github.com/BrianPulfer/PapersReimplementations (MIT licence, 606,852 numbers), written
from a description of what it computes. `build` is the function that a run of it names.

Run: cd benchmarks; python stranger.py RUN WEIGHTS MNIST [--other FASHION_WEIGHTS] [--out FILE]
Then: diffcov fit-var-head --run RUN --module stranger:build --kind npr; compare, sample, ... with the same --module.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import torch
from timing import report
from torch import Tensor, nn

from diffcov import DataDescription, Examples, MeanModel, NoiseSchedule, Run, TimeConvention, VarianceTable, estimate

SINUSOIDS = 100


class Block(nn.Module):
    """Norm over the whole image, then two convolutions."""

    def __init__(self, before: int, after: int, side: int, normed: bool = True) -> None:
        super().__init__()
        self.ln = nn.LayerNorm((before, side, side))
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        self.normed = normed

    def forward(self, x: Tensor) -> Tensor:
        x = self.ln(x) if self.normed else x
        out: Tensor = nn.functional.silu(self.conv2(nn.functional.silu(self.conv1(x))))
        return out


def level(widths: tuple[int, int, int, int], side: int, last_normed: bool = True) -> nn.Sequential:
    """Three blocks in a row."""
    return nn.Sequential(*(Block(a, b, side, last_normed or i < 2) for i, (a, b) in enumerate(pairwise(widths))))


def shift(width: int) -> nn.Sequential:
    """From the time's row to what is added to a level's input."""
    return nn.Sequential(nn.Linear(SINUSOIDS, width), nn.SiLU(), nn.Linear(width, width))


class Network(nn.Module):
    """(x (B, 1, 28, 28), times 0..999 (B,)) -> eps_hat."""

    def __init__(self) -> None:
        super().__init__()
        self.time_embed = nn.Embedding(1000, SINUSOIDS)
        self.te1, self.b1, self.down1 = shift(1), level((1, 10, 10, 10), 28), nn.Conv2d(10, 10, 4, 2, 1)
        self.te2, self.b2, self.down2 = shift(10), level((10, 20, 20, 20), 14), nn.Conv2d(20, 20, 4, 2, 1)
        self.te3, self.b3 = shift(20), level((20, 40, 40, 40), 7)
        self.down3 = nn.Sequential(nn.Conv2d(40, 40, 2, 1), nn.SiLU(), nn.Conv2d(40, 40, 4, 2, 1))
        self.te_mid, self.b_mid = shift(40), level((40, 20, 20, 40), 3)
        self.up1 = nn.Sequential(nn.ConvTranspose2d(40, 40, 4, 2, 1), nn.SiLU(), nn.ConvTranspose2d(40, 40, 2, 1))
        self.te4, self.b4, self.up2 = shift(80), level((80, 40, 20, 20), 7), nn.ConvTranspose2d(20, 20, 4, 2, 1)
        self.te5, self.b5, self.up3 = shift(40), level((40, 20, 10, 10), 14), nn.ConvTranspose2d(10, 10, 4, 2, 1)
        self.te_out, self.b_out = shift(20), level((20, 10, 10, 10), 28, last_normed=False)
        self.conv_out = nn.Conv2d(10, 1, 3, padding=1)

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        time = self.time_embed(times.long())

        def shifted(by: nn.Module, x: Tensor) -> Tensor:
            moved: Tensor = x + by(time)[:, :, None, None]
            return moved

        fine = self.b1(shifted(self.te1, x))
        middle = self.b2(shifted(self.te2, self.down1(fine)))
        coarse = self.b3(shifted(self.te3, self.down2(middle)))
        bottom = self.b_mid(shifted(self.te_mid, self.down3(coarse)))
        up = self.b4(shifted(self.te4, torch.cat([coarse, self.up1(bottom)], 1)))
        up = self.b5(shifted(self.te5, torch.cat([middle, self.up2(up)], 1)))
        up = self.b_out(shifted(self.te_out, torch.cat([fine, self.up3(up)], 1)))
        out: Tensor = self.conv_out(up)
        return out


def build() -> Network:
    """The network with fresh weights."""
    return Network()


def mean_of(weights: Path) -> MeanModel:
    """The mean model of a file of theirs."""
    network = Network()
    stored = torch.load(weights, weights_only=True, map_location="cpu")
    network.load_state_dict({name.removeprefix("network."): value for name, value in stored.items()})
    return MeanModel.of(
        network,
        predicts="eps",
        schedule=NoiseSchedule.linear(1000),
        data=DataDescription(1, 28, 28),
        time=TimeConvention(offset=1.0),
    )


def errors(mean: MeanModel, examples: Examples) -> dict[int, float]:
    """E||eps - eps_hat||^2 / d at a few times, 200 images each."""
    times = (1, 100, 250, 500, 750, 1000)
    table = estimate(mean, examples, [VarianceTable], times, 200)[VarianceTable]
    return {t: float(table.error_moments.mean()[t]) for t in times}


def main() -> None:
    """Make the run, measure its table and spectrum, and compare the errors of both means on MNIST."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("mnist")
    parser.add_argument("--other", type=Path)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    run = Run.create(given.run, mean_of(given.weights), "stranger:build", data=given.mnist)
    run.estimate(samples=25, knot_samples=500)
    found = {"their MNIST mean": errors(run.mean, run.examples())}
    if given.other:
        found["their Fashion mean"] = errors(mean_of(given.other), run.examples())
    report({"error of eps_hat on MNIST": found}, given.out)


if __name__ == "__main__":
    main()
