"""What the curvature of ``ocm`` costs: each a ratio A/B of two ways, taken in turn within this one process.

Run: python benchmarks/curvature.py [--repeats N] [--device cuda] [--out benchmarks/results/curvature-NAME.json]
"""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import torch
from timing import pair, report
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from diffcov.covariance.ingredients import Ingredients
from diffcov.data import DataDescription, Examples
from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.spec import MeanSpec
from diffcov.denoiser.time import TimeConvention
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.curvature import look_with_curvature
from diffcov.engines.training.batches import Batch, NoisyBatches
from diffcov.engines.training.config import Budget, TrainingConfig
from diffcov.engines.training.head_fit import HeadObjective, HeadPlan
from diffcov.engines.training.loop import Callbacks, Intervals, train
from diffcov.engines.training.session import Session
from diffcov.nets.unet import UNetConfig
from diffcov.runtime import keep_freed_memory

DATA = DataDescription(3, 32, 32)
NETWORK = UNetConfig(3, 32, 32, 32, (1, 2, 2), 1, (8,), 4, 0.0)
BATCH = 32


def model_on(device: torch.device) -> MeanModel:
    """A 1.7 M U-Net with attention, of random weights where it would start at zero."""
    torch.manual_seed(0)
    built = MeanSpec(NETWORK, Reading(NoiseSchedule.linear(), DATA, TimeConvention())).build()
    with torch.no_grad():
        for parameter in built.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.02)
    return built.to(device).freeze()


def batches_on(device: torch.device) -> NoisyBatches:
    """Random images."""
    images = torch.randint(0, 256, (512, *DATA.shape), dtype=torch.uint8, device=device)
    return NoisyBatches(Examples(images), DATA, NoiseSchedule.linear(), BATCH, False, 0)


def finished(device: torch.device, action: Callable[[], object]) -> Callable[[], object]:
    """The action, waited for."""

    def run() -> None:
        action()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return run


def forward(model: MeanModel, batch: Batch) -> Callable[[], object]:
    """A plain look."""

    @torch.no_grad()
    def run() -> object:
        return model.look(batch.x_t, batch.t)

    return run


def curved(model: MeanModel, batch: Batch) -> Callable[[], object]:
    """Look and curvature, signs included."""
    return lambda: look_with_curvature(model, batch.x_t, batch.t, batch.signs())


def curved_forward(model: MeanModel, batch: Batch) -> Callable[[], object]:
    """The same in forward mode, which is the way not taken; fused attention has no derivative in it."""

    def run() -> object:
        with warnings.catch_warnings(), torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            warnings.simplefilter("ignore", DeprecationWarning)
            return torch.func.jvp(
                lambda x: eps_and_features(model, x, batch.t), (batch.x_t,), (batch.signs(),), has_aux=True
            )

    return run


def eps_and_features(model: MeanModel, x_t: Tensor, t: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """What forward mode differentiates, and what it carries along."""
    look = model.look(x_t, t)
    return look.eps_hat, tuple(look.features)


def step(model: MeanModel, batches: NoisyBatches, kind: str) -> Callable[[], object]:
    """A step of fitting one published head."""
    plan = HeadPlan(kind, "squared", "simple")
    head = plan.spec(model).build(torch.ones(model.schedule.T + 1)).to(model.device)
    nothing = {kind: Ingredients(model.schedule, model.data)}
    objective = HeadObjective(model, {kind: head}, {kind: plan.loss}, nothing)
    session = Session(objective, TrainingConfig(batch_size=BATCH))
    quiet = Intervals(log_every=10**9, save_seconds=1e9)
    return lambda: train(session, batches, Budget(session.iteration + 1), Callbacks(), quiet)


def measured(device: torch.device, repeats: int) -> dict[str, dict[str, float]]:
    """Look and curvature, and a whole step of ocm (A), against a plain forward or a step of npr (B)."""
    model, batches = model_on(device), batches_on(device)
    batch = batches.at(0)
    once, both, other = forward(model, batch), curved(model, batch), curved_forward(model, batch)
    ocm, npr = step(model, batches, "ocm"), step(model, batches, "npr")
    pairs = {
        "look_and_curvature_to_forward": (both, once),
        "the_same_in_forward_mode_to_forward": (other, once),
        "ocm_step_to_forward": (ocm, once),
        "ocm_step_to_npr_step": (ocm, npr),
    }
    return {name: pair(finished(device, a), finished(device, b), repeats) for name, (a, b) in pairs.items()}


def main() -> None:
    """Take every measurement and print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    keep_freed_memory()
    result = {"device": options.device, **measured(torch.device(options.device), options.repeats)}
    report(result, options.out)


if __name__ == "__main__":
    main()
