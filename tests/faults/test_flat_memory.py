"""Memory does not grow with iterations and batches: what a run of days needs, it needs after a minute."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from diffcov.denoiser.clipped import Clipped
from diffcov.denoiser.mean_model import MeanModel
from diffcov.diffusion.grids import even
from diffcov.engines.sampler import Sampler
from diffcov.engines.sampling import generate
from diffcov.engines.training.batches import NoisyBatches
from diffcov.engines.training.config import Budget, TrainingConfig
from diffcov.engines.training.loop import Callbacks, Intervals, train
from diffcov.engines.training.mean_fit import MeanObjective
from diffcov.engines.training.session import Session
from diffcov.nets.unet import UNet, UNetConfig
from diffcov.solver.ddpm import DDPM
from oracles.tiny import DATA, tiny_covariance, tiny_examples, tiny_model

TIMES = 10_000
GROWTH = 8
"""MiB that may be added over those, which is 0.8 KiB each: less than one image with its noise and its gradient."""


def resident() -> float:
    """MiB of this process that are in memory."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


@pytest.mark.slow
def test_ten_thousand_iterations() -> None:
    trunk = UNet(UNetConfig(1, 8, 8, channels=4, multipliers=(1,), blocks=1, attention=(), heads=1, dropout=0.1))
    model = MeanModel(trunk, replace(tiny_model(20).reading, learned_range=False)).train()
    session = Session(MeanObjective(model), TrainingConfig(batch_size=2))
    batches = NoisyBatches(tiny_examples(64), DATA, model.reading.schedule, 2, True, 0)
    sizes: list[float] = []

    def step(iteration: int) -> None:
        if iteration in (1000, TIMES):
            sizes.append(resident())

    assert train(session, batches, Budget(TIMES), Callbacks(on_step=step), Intervals(50, 1e9))
    assert sizes[1] - sizes[0] < GROWTH, sizes


@pytest.mark.slow
def test_ten_thousand_batches_of_samples() -> None:
    model = tiny_model(20)
    model.network.batches.clear()
    sampler = Sampler(Clipped(model), tiny_covariance("corrected", model), DDPM(), even(20, 1), None)
    sizes: list[float] = []
    total = torch.zeros(())
    for number, pixels in enumerate(generate(sampler, TIMES, batch_size=1)):
        total += pixels.float().mean()
        if number in (1000, TIMES - 1):
            sizes.append(resident())
    assert sizes[1] - sizes[0] < GROWTH, sizes
    assert 0 < float(total) / TIMES < 16
