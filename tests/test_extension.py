"""One of each kind of thing, added here by one registration each, and used by every command."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from conftest import TINY
from diffcov.basis import PIXEL
from diffcov.covariance import registry as covariances
from diffcov.covariance.base import Covariance
from diffcov.data import DataDescription
from diffcov.denoiser import parametrisation
from diffcov.denoiser.look import Look
from diffcov.denoiser.noised import Noised
from diffcov.denoiser.parametrisation import Eps
from diffcov.diffusion.level import Level
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.diffusion.step import Step
from diffcov.gaussian import Diagonal
from diffcov.solver import registry as solvers
from diffcov.solver.base import Solver
from diffcov.statistics import registry as statistics
from diffcov.statistics.base import Placement, Setting, Statistic
from diffcov.store.datasets import load
from diffcov.store.datasets.reader import Reader
from diffcov.store.datasets.stored import Stored


@dataclass(frozen=True)
class Worst(Statistic):
    """The mean over images of their largest squared error, at every time."""

    name = "worst"
    title = "a table of worst errors"
    several = "tables of worst errors"
    kind = "worst-errors"
    file = "worst.safetensors"
    placement = Placement.EVERY_TIME
    clips = True

    count: Tensor
    total: Tensor

    @classmethod
    def begin(cls, setting: Setting) -> WorstMeter:
        zeros = torch.zeros(setting.schedule.T + 1, dtype=torch.float64)
        return WorstMeter(cls(zeros, zeros.clone()))

    def check_fits(self, schedule: NoiseSchedule, data: DataDescription) -> None:
        if len(self.count) != schedule.T + 1:
            raise ValueError("another number of times")

    def summary(self) -> dict[str, Any]:
        return {"times": len(self.times)}

    @property
    def times(self) -> list[int]:
        return [int(t) for t in self.count.nonzero().flatten()]


class WorstMeter:
    """Adds up, image by image."""

    def __init__(self, found: Worst) -> None:
        self.found = found

    def add(self, noised: Noised) -> None:
        times = noised.look.t
        t = times if isinstance(times, Tensor) else torch.full((len(noised.eps),), times)
        self.found.count.index_add_(0, t, torch.ones(len(t), dtype=torch.float64))
        self.found.total.index_add_(0, t, noised.residual.square().flatten(1).amax(1))

    def result(self) -> Worst:
        return self.found


class Fearful(Covariance):
    """As uncertain everywhere as at the worst pixel."""

    name = "fearful"
    needs = (Worst,)
    summary = "the worst pixel's error everywhere"
    formula = "r E max (eps - eps_hat)^2"
    reference = "the tests"

    def unbounded(self, look: Look) -> Diagonal:
        worst, t = self.ingredients[Worst], look.time
        return Diagonal(PIXEL, self.schedule.ratio[t] * worst.total[t] / worst.count[t])


@dataclass(frozen=True)
class TwoStep(Solver):
    """The probability flow with x0_hat extrapolated from the look before; a walk remembers one look."""

    name = "twostep"
    summary = "two looks a step"
    reference = "the tests"
    eta = 0.0
    order = 2

    def walk(self, steps: Sequence[Step]) -> TwoStepWalk:
        return TwoStepWalk()


@dataclass
class TwoStepWalk:
    """What one walk has seen."""

    before: list[Tensor] = field(default_factory=list)

    def mean(self, step: Step, look: Look) -> Tensor:
        trend = 0 if not self.before else look.x0_hat - self.before[-1]
        self.before.append(look.x0_hat)
        return step.mean_from_eps(look.x0_hat + 0.5 * trend, look.eps_hat)


class Negative(Eps):
    """The output is the noise with the other sign."""

    name = "negative"
    summary = "minus the noise"

    def x0(self, x_t: Tensor, output: Tensor, level: Level) -> Tensor:
        return super().x0(x_t, -output, level)

    def eps(self, x_t: Tensor, output: Tensor, level: Level) -> Tensor:
        return -output

    def target(self, x_0: Tensor, eps: Tensor, level: Level) -> Tensor:
        return -eps


def open_dots(path: Path, split: str) -> Stored:
    """A line an image: 64 characters, "#" is white."""
    lines = path.read_text().splitlines()
    pixels = np.array([[255 if dot == "#" else 0 for dot in line] for line in lines], dtype=np.uint8)
    return Stored.of_array(pixels.reshape(-1, 1, 8, 8))


DOTS = Reader("dots: a line of . and # an image", lambda path: path.suffix == ".dots", lambda path: (), open_dots)


@pytest.fixture
def extended(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One line each, as a contributor would write it."""
    home = f"{__name__}:"
    monkeypatch.setitem(statistics.STATISTICS, "worst", home + "Worst")
    monkeypatch.setitem(covariances.COVARIANCES, "fearful", covariances.Entry(home + "Fearful"))
    monkeypatch.setitem(solvers.SOLVERS, "twostep", home + "TwoStep")
    monkeypatch.setitem(parametrisation.PARAMETRISATIONS, "negative", Negative())
    monkeypatch.setattr(load, "READERS", (DOTS, *load.READERS))
    yield


@pytest.fixture
def dots(tmp_path: Path) -> Path:
    """200 images."""
    generator = np.random.default_rng(0)
    lines = ["".join(".#"[int(dot)] for dot in image) for image in generator.random((200, 64)) < 0.3]
    path = tmp_path / "images.dots"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.usefixtures("extended")
def test_every_command_knows_what_was_registered(tmp_path: Path, dots: Path, done: Callable[..., Any]) -> None:
    run = tmp_path / "run"
    trained = done("train-mean", "--run", run, "--data", dots, "--predict", "negative", *TINY, "--iterations", 3)
    assert trained["settings"]["predict"] == "negative"

    measured = done("estimate-var", "--run", run, "--samples", 3, "--knots", 4, "--knot-samples", 4)
    assert measured["worst"]["samples"] == measured["table"]["samples"] == 3
    more = done("estimate-var", "--run", run, "--add", "--samples", 2, "--knot-samples", 1)
    assert more["worst"]["samples"] == 5

    drawn = done("sample", "--run", run, "--covariance", "fearful", "--solver", "twostep", "--steps", 4, "--count", 2)
    assert (drawn["covariance"], drawn["solver"]) == ("fearful", "twostep")
    assert drawn["sampler"]["covariance"]["made_of"] == {"worst.safetensors": more["worst"]["digest"]}

    judged = done(
        "evaluate", "--run", run, "--covariance", "fearful,small", "--metrics", "nll,calibration,distances,exposure",
        "--steps", 4, "--images", 8, "--count", 70, "--features", "pixels",
    )  # fmt: skip
    assert judged["nll"]["fearful"]["bits_per_dim"] < judged["nll"]["small"]["bits_per_dim"]
    assert judged["distances"]["covariances"].keys() == {"fearful", "small"}

    compared = done(
        "compare", "--run", run, "--covariance", "fearful,small", "--solver", "ddpm,twostep", "--steps", "3,4",
        "--images", 8, "--count", 70, "--features", "pixels",
    )  # fmt: skip
    places = {(cell["covariance"], cell["solver"]) for cell in compared["cells"]}
    assert places == {(name, solver) for name in ("fearful", "small") for solver in ("ddpm", "twostep")}
    page = Path(compared["report"]).read_text()
    assert "the worst pixel&#x27;s error everywhere" in page or "the worst pixel's error everywhere" in page
    assert {part["kind"] for part in done("inspect", run)["parts"]} >= {"mean", "worst-errors", "variance-table"}


@pytest.mark.usefixtures("extended")
def test_a_two_step_solver_sees_the_look_before(tmp_path: Path, dots: Path, done: Callable[..., Any]) -> None:
    """Its samples differ from the first order's from the second step on, and not before."""
    run = tmp_path / "run"
    done("train-mean", "--run", run, "--data", dots, *TINY, "--iterations", 3)

    def pixels(solver: str, steps: int) -> Any:
        made = done(
            "sample", "--run", run, "--covariance", "small", "--solver", solver, "--steps", steps, "--count", 4,
            "--format", "npz",
        )  # fmt: skip
        return np.load(Path(made["out"]) / "samples.npz")["arr_0"]

    assert np.array_equal(pixels("twostep", 1), pixels("ddim", 1))
    assert not np.array_equal(pixels("twostep", 4), pixels("ddim", 4))
