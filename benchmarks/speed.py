"""What the performance claims rest on: each a ratio A/B of two ways, taken in turn within this one process.

Run: python benchmarks/speed.py [--repeats N] [--out benchmarks/results/speed-NAME.json]
"""

from __future__ import annotations

import ctypes
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import torch
from timing import asked, pair, report, seconds
from torch import Tensor, nn

from diffcov import (
    DataDescription,
    Examples,
    ImageNoise,
    NoiseSchedule,
    Sampler,
    Spectrum,
    TimeConvention,
    VarianceTable,
    View,
    estimate,
    even,
    make_covariance,
    sample,
    through,
)
from diffcov.covariance.ingredients import Ingredients
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.spec import MeanSpec
from diffcov.engines.training.batches import NoisyBatches
from diffcov.engines.training.config import Budget, TrainingConfig
from diffcov.engines.training.head_fit import HeadObjective, HeadPlan
from diffcov.engines.training.loop import Callbacks, Intervals, train
from diffcov.engines.training.mean_fit import MeanObjective
from diffcov.engines.training.session import Session
from diffcov.nets.unet import UNetConfig
from diffcov.runtime import M_MMAP_THRESHOLD, M_TOP_PAD, M_TRIM_THRESHOLD, keep_freed_memory
from diffcov.statistics.knots import Knots

DEFAULT_ALLOCATOR = {M_MMAP_THRESHOLD: 128 << 10, M_TRIM_THRESHOLD: 128 << 10, M_TOP_PAD: 0}


def give_back_freed_memory() -> None:
    """glibc's own settings."""
    for parameter, value in DEFAULT_ALLOCATOR.items():
        ctypes.CDLL(None).mallopt(parameter, value)


def session_for(spec: MeanSpec, batch_size: int) -> tuple[Session, NoisyBatches]:
    """A mean training on random images."""
    session = Session(MeanObjective(spec.build()), TrainingConfig(batch_size=batch_size))
    return session, batches_of(spec, batch_size)


def batches_of(spec: MeanSpec, batch_size: int) -> NoisyBatches:
    """Batches of random images."""
    return NoisyBatches(random_examples(spec), spec.reading.data, spec.reading.schedule, batch_size, False, 0)


def random_examples(spec: MeanSpec) -> Examples:
    """Random images."""
    return Examples(torch.randint(0, 256, (512, *spec.reading.data.shape), dtype=torch.uint8))


def photographs() -> MeanSpec:
    """A 1.7 M U-Net at 32x32."""
    network = UNetConfig(3, 32, 32, 32, (1, 2, 2), 1, (8,), 4, 0.0)
    return MeanSpec(network, Reading(NoiseSchedule.linear(), DataDescription(3, 32, 32), TimeConvention()))


def steps(session: Session, batches: NoisyBatches, count: int) -> Callable[[], object]:
    """``count`` further training steps."""
    quiet = Intervals(log_every=10**9, save_seconds=1e9)
    return lambda: train(session, batches, Budget(session.iteration + count), Callbacks(), quiet)


def allocator(repeats: int) -> dict[str, float]:
    """A training step of a 1.7 M U-Net at 32x32 with freed memory kept (A) and given back (B)."""
    step = steps(*session_for(photographs(), 32), 2)

    def kept() -> None:
        keep_freed_memory()
        step()

    def given_back() -> None:
        give_back_freed_memory()
        step()

    return pair(kept, given_back, repeats)


def shared_trunk(repeats: int) -> dict[str, float]:
    """A step of fitting NPR and SN together (A), and one step of each alone (B)."""
    network = UNetConfig(1, 28, 28, 32, (1, 2, 2), 1, (7,), 4, 0.0)
    spec = MeanSpec(network, Reading(NoiseSchedule.linear(), DataDescription(1, 28, 28), TimeConvention()))
    model = spec.build()
    nothing = Ingredients(model.schedule, model.data)

    def fit(*kinds: str) -> Callable[[], object]:
        plans = [HeadPlan(kind, "squared", "complex") for kind in kinds]
        heads = {plan.kind: plan.spec(model).build(plan.start(nothing)) for plan in plans}
        objective = HeadObjective(model, heads, dict.fromkeys(kinds, "squared"), dict.fromkeys(kinds, nothing))
        return steps(Session(objective, TrainingConfig(batch_size=64)), batches_of(spec, 64), 2)

    both, npr, sn = fit("npr", "sn"), fit("npr"), fit("sn")
    return pair(both, lambda: (npr(), sn()), repeats)


def counter_noise(repeats: int) -> dict[str, float]:
    """Noise of 64 images of 3x32x32 by counter (A), and from a generator an image, version 1 (B)."""

    def drawn(version: int) -> list[Tensor]:
        noise = ImageNoise(0, range(64), (3, 32, 32), version=version, draws=50)
        return [noise.draw() for _ in range(50)]

    return pair(lambda: drawn(2), lambda: drawn(1), repeats)


def outside_the_network(repeats: int) -> dict[str, float]:
    """A sampling of 32 images of 3x32x32 in 10 steps: seconds inside of the network, and the share outside of it.

    The network's own calls are timed while it samples, so that what happens around them is not the difference of two
    noisy times. Spectral is the dearest covariance without a head, corrected the cheapest one that is measured.
    """
    keep_freed_memory()  # as the program does
    spec = photographs()
    mean = spec.build().freeze()
    inside: list[float] = []

    def begin(module: nn.Module, inputs: tuple[object, ...]) -> None:
        inside.append(-time.perf_counter())

    def end(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        inside[-1] += time.perf_counter()

    mean.network.register_forward_pre_hook(begin)
    mean.network.register_forward_hook(end)
    examples = random_examples(spec)
    table = estimate(mean, examples, [VarianceTable], even(1000, 10).times, 2)[VarianceTable]
    spectrum = estimate(mean, examples, [Spectrum], Knots.spread(mean.schedule, 4).times, 2)[Spectrum]
    samplers = {
        name: Sampler.of(through(mean, View(clip_x0=True)), make_covariance(name, mean, table, spectrum), steps=10)
        for name in ("corrected", "spectral")
    }
    shares: dict[str, list[float]] = {name: [] for name in samplers}
    times: list[float] = []
    for _ in range(repeats + 1):
        for name, sampler in samplers.items():
            inside.clear()
            noise = ImageNoise(0, range(32), mean.data.shape)
            whole = seconds(lambda sampler=sampler, noise=noise: sample(sampler, noise))
            shares[name].append(1 - sum(inside) / whole)
            times.append(sum(inside))
    outside = {f"outside_{name}": statistics.median(values[1:]) for name, values in shares.items()}
    return {"network_seconds": statistics.median(times), **outside}


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
    options = asked(__doc__, 7)
    result = {
        **{
            task.__name__: task(options.repeats)
            for task in (allocator, shared_trunk, counter_noise, outside_the_network, help_text)
        },
    }
    report(result, options.out)


if __name__ == "__main__":
    main()
