"""Every command at the ends of what can be asked: it works, or one of our sentences says why not; never NaN.

T = 1, 2, 20, 4000 and alpha_bar_T = 0; K = 1 and K = T; eta 0 and 1; constant images, one image; 1 and 4 channels; 1x1
and 5x7 pixels. The default tests take one of each; ``-m slow`` takes all commands in each world.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from conftest import run_cli, strict_json
from diffcov.covariance import registry
from diffcov.denoiser.reading import Reading
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.recipe import LITERATURE
from diffcov.solver.registry import SOLVERS
from diffcov.store.checkpoint import load_mean, save_mean

NETWORK = (
    *("--preset", "small", "--channels", 8, "--multipliers", 1, "--blocks", 1, "--heads", 1, "--attention", "none"),
    *("--batch-size", 4, "--iterations", 2, "--preview-minutes", 0),
)
OF_ANY_MEAN = tuple(name for name in registry.COVARIANCES if name != "learned-range")


@dataclass(frozen=True)
class World:
    """Images and a schedule.

    Args:
        count, channels, height, width: of the images.
        T: trained steps.
        schedule: its name; "zero" ends at alpha_bar = 0.
        constant: whether all pixels are one grey.
    """

    count: int = 80
    channels: int = 1
    height: int = 4
    width: int = 4
    T: int = 20
    schedule: str = "cosine"
    constant: bool = False

    @property
    def lengths(self) -> tuple[int, ...]:
        """K = 1, and K = T where that is not too long to wait for."""
        return tuple(sorted({1, min(self.T, 20)}))

    def run(self, folder: Path) -> Path:
        """A run with a trained mean."""
        shape = (self.count, self.height, self.width, self.channels)
        images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        np.save(folder / "images.npy", np.full_like(images, 100) if self.constant else images)
        family = "cosine" if self.schedule == "zero" else self.schedule
        words = ["--data", folder / "images.npy", "--timesteps", self.T, "--schedule", family]
        result = run_cli("train-mean", "--run", folder / "run", *words, *NETWORK)
        assert result.exit_code == 0, result.stderr
        if self.schedule == "zero":
            self._end_at_zero(folder / "run")
        return folder / "run"

    def _end_at_zero(self, run: Path) -> None:
        """The same weights, read as v of a schedule without a signal at T."""
        mean = load_mean(run / "mean.safetensors")
        betas = [*torch.linspace(1e-3, 0.2, self.T - 1, dtype=torch.float64).tolist(), 1.0]
        own = mean.spec.reading
        reading = Reading(NoiseSchedule.from_betas(betas), own.data, own.time, predicts="v")
        save_mean(run / "mean.safetensors", mean.model.network, replace(mean.spec, reading=reading), mean.training)
        shutil.rmtree(run / "state")


WORLDS = {
    "T = 1": World(T=1),
    "T = 2": World(T=2),
    "linear, T = 21": World(T=21, schedule="linear"),
    "vp, T = 20": World(schedule="vp"),
    "T = 4000": World(T=4000),
    "zero terminal signal": World(schedule="zero"),
    "constant images": World(constant=True),
    "constant colours": World(channels=3, constant=True),
    "one image": World(count=1),
    "four channels": World(channels=4),
    "1x1 pixel": World(height=1, width=1),
    "1x1 pixel of colour": World(channels=3, height=1, width=1),
    "5x7 pixels": World(channels=3, height=5, width=7),
    "one constant image of 5x7 and four channels, T = 2": World(1, 4, 5, 7, 2, constant=True),
}
QUICK = {
    "T = 1, a pixel": World(count=6, height=1, width=1, T=1),
    "zero terminal signal": World(count=8, schedule="zero", T=5),
    "one constant image of 5x7 and four channels": World(1, 4, 5, 7, 3, constant=True),
}

REASONS = (
    "a likelihood needs a schedule of at least 2 steps, found T=1; train with --timesteps 2 or more",
    "the flow needs at least 2 times to go along; give --steps 2 or more",
    r"the flow begins at finite noise, and alpha_bar is 0 at t=\d+; give times below it with --grid",
    r"(analytic|sn|ocm) has no value at t=\d+, where alpha_bar is 0 and eps_hat says nothing of x_0; use corrected",
    r"contrast needs images of at least 2x2 pixels, found \(1, 1\)",
    "the images have no contrast: all pixels of each are equal; look at the data",
    "fitting stops by images that are held out, which takes at least 2 and found 1; give more images, or fit without",
    r"a Frechet distance in \d+ dimensions needs at least \d+ (samples|images of data), found \d+; give more",
    r"holds no optimal grids for corrected .*; run: diffcov trajectory",
)
"""All that a command may say where it cannot do what was asked; anything else fails the test."""

Words = list[Any]


def train_and_fit() -> Iterator[Words]:
    yield ["estimate-var", "--samples", 2, "--knots", 4, "--knot-samples", 4]
    kinds = [word for kind in registry.heads() for word in ("--kind", kind)]
    yield ["fit-var-head", "--iterations", 2, "--batch-size", 4, "--patience", 0, *kinds]


def few(world: World) -> Iterator[Words]:
    """One of each command."""
    yield from train_and_fit()
    longest = world.lengths[-1]
    for K in world.lengths:
        yield ["sample", "--count", 2, "--steps", K, "--covariance", "npr", "--format", "npz"]
        yield ["sample", "--count", 2, "--steps", K, "--covariance", "spectral", "--solver", "ddim", "--eta", 0]
        yield ["sample", "--count", 2, "--steps", K, "--covariance", "small", "--solver", "dpmpp"]
    yield ["evaluate", "--covariance", "corrected,full", "--steps", longest, "--images", 2]
    yield ["trajectory", "--covariance", "corrected", "--images", 2]
    yield ["compare", "--count", 0, "--images", 2, "--steps", longest, "--covariance", "small,ocm"]
    yield ["export", "--out", "EXPORT", "--covariance", "corrected"]
    yield ["inspect", "--verify"]
    yield ["inspect", "--all"]


def all_of(world: World) -> Iterator[Words]:
    """Every covariance, solver, recipe and metric."""
    yield from train_and_fit()
    longest = world.lengths[-1]
    for K in world.lengths:
        drawn: Words = ["sample", "--count", 2, "--steps", K, "--force"]
        for eta in (0, 1):
            yield from (
                [*drawn, "--solver", "ddim", "--eta", eta, "--covariance", name] for name in ("small", "corrected")
            )
        yield from ([*drawn, "--covariance", name, "--format", "npz"] for name in OF_ANY_MEAN)
        yield from ([*drawn, "--solver", name, "--covariance", "small"] for name in SOLVERS)
        yield from ([*drawn, "--recipe", name] for name in LITERATURE)
        yield ["evaluate", "--covariance", "all", "--steps", K, "--images", 2]
        yield ["evaluate", "--metrics", "ode-nll", "--steps", K, "--images", 2]
        yield ["evaluate", "--metrics", "calibration,exposure", "--covariance", "all", "--steps", K, "--images", 2]
        for space in ("spectrum", "pixels"):
            yield ["evaluate", "--metrics", "distances", "--steps", K, "--count", 80, "--features", space]
    yield [*drawn, "--eps-scale", "fitted"]
    yield ["trajectory", "--covariance", "corrected", "--images", 2]
    yield [*drawn, "--covariance", "corrected", "--grid", "optimal"]
    lengths = ",".join(map(str, world.lengths))
    yield ["compare", "--count", 80, "--images", 2, "--steps", lengths, "--features", "spectrum", "--covariance", "all"]
    quick = ("--few", 16, "--count", 80, "--no-starts", "--minutes", 0.01, "--features", "spectrum")
    yield ["tune", "--steps", longest, *quick]
    yield ["export", "--out", "EXPORT"]
    yield ["inspect", "--verify"]
    yield ["inspect", "--all"]


def succeeds_or_says_why(words: Words) -> bool:
    """Whether a command succeeded; if not, it has said one of :data:`REASONS`, and nothing else."""
    result = run_cli(*words, "--json")
    if result.exit_code == 0:
        strict_json(result.stdout)
        return True
    assert result.exit_code in (2, 3), (words, result.stderr)
    errors = [line.removeprefix("error: ") for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, (words, result.stderr)
    assert any(re.search(reason, errors[0]) for reason in REASONS), (words, errors[0])
    return False


def require_numbers(run: Path) -> None:
    """No NaN in any artefact, and no infinity but where it says that no step can be."""
    for path in run.rglob("*.safetensors"):
        endless = path.name.startswith("trajectory-")
        for name, tensor in load_file(path).items():
            numbers = tensor.double() if tensor.is_floating_point() else torch.zeros(1)
            assert not numbers.isnan().any(), (path, name)
            assert endless or not numbers.isinf().any(), (path, name)
    for path in run.rglob("*.npz"):
        with np.load(path, allow_pickle=False) as arrays:
            assert all(np.isfinite(arrays[name]).all() for name in arrays if arrays[name].dtype.kind in "fiu"), path
    for path in run.rglob("*.json"):
        strict_json(path.read_text(encoding="utf-8"))
    for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines():
        strict_json(line)


def go_through(world: World, commands: Iterator[Words], folder: Path) -> dict[str, int]:
    """How often each command succeeded."""
    run = world.run(folder)
    succeeded: dict[str, int] = {}
    for number, words in enumerate(commands):
        placed = [folder / f"exported-{number}" if word == "EXPORT" else word for word in words]
        done = succeeds_or_says_why([*placed, "--run", run])
        succeeded[words[0]] = succeeded.get(words[0], 0) + done
    require_numbers(run)
    return succeeded


@pytest.mark.parametrize("name", QUICK)
def test_one_of_each_command(name: str, tmp_path: Path) -> None:
    done = go_through(QUICK[name], few(QUICK[name]), tmp_path)
    assert all(done[command] for command in ("estimate-var", "fit-var-head", "sample", "export", "inspect")), done


@pytest.mark.slow
@pytest.mark.parametrize("name", WORLDS)
def test_every_command(name: str, tmp_path: Path) -> None:
    world = WORLDS[name]
    done = go_through(world, all_of(world), tmp_path)
    never = {command for command, count in done.items() if not count}
    lacking = {"trajectory", "compare"} if world.T == 1 else {"compare", "tune"} if world.count == 1 else set()
    assert never <= lacking, done
