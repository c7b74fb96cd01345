"""Nothing in a loop waits for the device: no number is read from it but where it is reported."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from diffcov.data import Examples
from diffcov.denoiser.base import View
from diffcov.denoiser.look import Look
from diffcov.denoiser.through import through
from diffcov.diffusion.grids import even
from diffcov.engines.sampler import Sampler
from diffcov.engines.sampling import generate
from diffcov.engines.training.batches import NoisyBatches
from diffcov.engines.training.config import Budget, TrainingConfig
from diffcov.engines.training.loop import Callbacks, Intervals, train
from diffcov.engines.training.mean_fit import MeanObjective
from diffcov.engines.training.session import Session
from diffcov.solver.registry import make_solver
from oracles.tiny import tiny_covariance, tiny_examples, tiny_model

T = 50
QUIET = Intervals(log_every=1000, save_seconds=math.inf)
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


class Reads(TorchDispatchMode):
    """Counts the numbers that are read from tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
        return func(*args, **(kwargs or {}))


def begun(device: str) -> tuple[Session, NoisyBatches]:
    """A training of a network without classes, with everything on."""
    model = tiny_model(T).to(torch.device(device))
    examples: Examples = tiny_examples(8).to(torch.device(device))
    session = Session(MeanObjective(model.requires_grad_(True)), TrainingConfig(batch_size=4, clip_norm=1.0))
    return session, NoisyBatches(examples, model.data, model.schedule, 4, flip=True, seed=0)


def test_training_reads_no_number_in_its_loop() -> None:
    """Whatever is read is read at the end, so twice the iterations read as often."""
    counts = []
    for iterations in (3, 6):
        with Reads() as reads:
            train(*begun("cpu"), Budget(iterations), Callbacks(), QUIET)
        counts.append(reads.count)
    assert counts[0] == counts[1] > 0


@pytest.fixture
def waiting() -> Iterator[None]:
    """Leaves the debug mode as it was."""
    before = torch.cuda.get_sync_debug_mode()
    yield
    torch.cuda.set_sync_debug_mode(before)


@GPU
@pytest.mark.usefixtures("waiting")
def test_training_never_waits_for_the_gpu() -> None:
    def watch(iteration: int) -> None:
        torch.cuda.set_sync_debug_mode("error" if 2 <= iteration < 6 else "default")

    train(*begun("cuda"), Budget(6), Callbacks(on_step=watch), QUIET)


@GPU
@pytest.mark.usefixtures("waiting")
@pytest.mark.parametrize("solver", ["ddpm", "ddim", "dpmpp", "unipc", "spectral-ei"])
@pytest.mark.parametrize("name", ["small", "corrected", "spectral", "full", "npr"])
def test_sampling_never_waits_for_the_gpu(name: str, solver: str) -> None:
    """Between the second look, when whatever is kept on the device is there, and the last one."""
    model = tiny_model(T).to(torch.device("cuda"))
    made = make_solver(solver)
    if made.needs:
        pytest.skip("made of statistics")
    sampler = Sampler(through(model, View(clip_x0=True)), tiny_covariance(name, model), made, even(T, 6), 1.0)
    looks = 0

    def watch(look: Look) -> None:
        nonlocal looks
        looks += 1
        torch.cuda.set_sync_debug_mode("error" if 2 <= looks < 6 else "default")

    list(generate(sampler, 4, on_look=watch))
