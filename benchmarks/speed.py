"""What the performance claims rest on: each a ratio A/B of two ways, taken in turn within this one process.

Run: python benchmarks/speed.py [--repeats N] [--out benchmarks/results/speed-NAME.json]
"""

from __future__ import annotations

import argparse
import ctypes
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import torch
from timing import pair, report

from diffcov.cli.runtime import M_MMAP_THRESHOLD, M_TOP_PAD, M_TRIM_THRESHOLD, keep_freed_memory
from diffcov.covariance.base import Fitted
from diffcov.data import DataDescription
from diffcov.denoiser.network import TimeConvention
from diffcov.denoiser.spec import MeanSpec
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.training.batches import NoisyBatches
from diffcov.engines.training.config import Budget, TrainingConfig
from diffcov.engines.training.heads import HeadObjective, HeadPlan
from diffcov.engines.training.loop import Callbacks, Intervals, train
from diffcov.engines.training.mean import MeanObjective
from diffcov.engines.training.session import Session
from diffcov.nets.unet import UNetConfig
from diffcov.noise import ImageNoise

DEFAULT_ALLOCATOR = {M_MMAP_THRESHOLD: 128 << 10, M_TRIM_THRESHOLD: 128 << 10, M_TOP_PAD: 0}


def give_back_freed_memory() -> None:
    """glibc's own settings."""
    for parameter, value in DEFAULT_ALLOCATOR.items():
        ctypes.CDLL(None).mallopt(parameter, value)


def session_for(spec: MeanSpec, batch_size: int) -> tuple[Session, NoisyBatches]:
    """A mean training on random images."""
    data = spec.data
    images = torch.randint(0, 256, (512, *data.shape), dtype=torch.uint8)
    session = Session(MeanObjective(spec.build()), TrainingConfig(batch_size=batch_size))
    return session, NoisyBatches(images, data, spec.schedule, batch_size, False, 0)


def steps(session: Session, batches: NoisyBatches, count: int) -> Callable[[], object]:
    """``count`` further training steps."""
    quiet = Intervals(log_every=10**9, save_seconds=1e9)
    return lambda: train(session, batches, Budget(session.iteration + count), Callbacks(), quiet)


def allocator(repeats: int) -> dict[str, float]:
    """A training step of a 1.7 M U-Net at 32x32 with freed memory kept (A) and given back (B)."""
    spec = MeanSpec(
        UNetConfig(3, 32, 32, 32, (1, 2, 2), 1, (8,), 4, 0.0),
        NoiseSchedule.linear(),
        DataDescription(3, 32, 32),
        TimeConvention(),
    )
    step = steps(*session_for(spec, 32), 2)

    def kept() -> None:
        keep_freed_memory()
        step()

    def given_back() -> None:
        give_back_freed_memory()
        step()

    return pair(kept, given_back, repeats)


def shared_trunk(repeats: int) -> dict[str, float]:
    """A step of fitting NPR and SN together (A), and one step of each alone (B)."""
    spec = MeanSpec(
        UNetConfig(1, 28, 28, 32, (1, 2, 2), 1, (7,), 4, 0.0),
        NoiseSchedule.linear(),
        DataDescription(1, 28, 28),
        TimeConvention(),
    )
    model = spec.build()
    images = torch.randint(0, 256, (512, 1, 28, 28), dtype=torch.uint8)

    def fit(*kinds: str) -> Callable[[], object]:
        plans = [HeadPlan(kind, "squared", "complex") for kind in kinds]
        heads = {plan.kind: plan.spec(model).build(plan.start(model, Fitted())) for plan in plans}
        session = Session(HeadObjective(model, heads, dict.fromkeys(kinds, "squared")), TrainingConfig(batch_size=64))
        return steps(session, NoisyBatches(images, spec.data, spec.schedule, 64, False, 0), 2)

    both, npr, sn = fit("npr", "sn"), fit("npr"), fit("sn")
    return pair(both, lambda: (npr(), sn()), repeats)


def image_noise(repeats: int) -> dict[str, float]:
    """Noise of 64 images of 3x32x32 from a generator an image (A), and one torch.randn of the same size (B)."""
    noise = ImageNoise(0, range(64), (3, 32, 32))
    return pair(
        lambda: [noise.draw() for _ in range(50)], lambda: [torch.randn(64, 3, 32, 32) for _ in range(50)], repeats
    )


def help_text(repeats: int) -> dict[str, float]:
    """``diffcov --help`` (A) and the help of an empty Typer app (B), whole processes."""
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty.py"
        empty.write_text("import typer\napp = typer.Typer()\n@app.command()\ndef main(): ...\napp()\n")

        def run(*command: str) -> Callable[[], object]:
            return lambda: subprocess.run([sys.executable, *command, "--help"], check=True, capture_output=True)

        return pair(run("-m", "diffcov"), run(str(empty)), repeats)


def main() -> None:
    """Take every measurement and print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    result = {
        **{task.__name__: task(options.repeats) for task in (allocator, shared_trunk, image_noise, help_text)},
    }
    report(result, options.out)


if __name__ == "__main__":
    main()
