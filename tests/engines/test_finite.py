"""NaN and infinity are named where they appear first: the quantity and the step."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from diffcov.basis import PIXEL
from diffcov.covariance.base import Covariance
from diffcov.covariance.ingredients import Ingredients
from diffcov.covariance.registry import make_covariance
from diffcov.data import DataDescription, Examples
from diffcov.denoiser.look import Look
from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.reading import Reading
from diffcov.diffusion.grids import even
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.diffusion.step import Step
from diffcov.engines.finite import Watch
from diffcov.engines.forward import look_along
from diffcov.engines.ode_likelihood import flow_likelihood
from diffcov.engines.sampler import Sampler
from diffcov.engines.sampling import draw
from diffcov.engines.sweep import estimate
from diffcov.errors import NonFiniteError
from diffcov.gaussian.diagonal import Diagonal
from diffcov.gaussian.start import GaussianStart
from diffcov.nets.features import Features
from diffcov.solver.base import Walk
from diffcov.solver.ddpm import DDPM
from diffcov.statistics.table import VarianceTable
from oracles.gaussian import GaussianWorld
from oracles.trunks import OUR_TIMES, PerfectTrunk

DATA = DataDescription(1, 4, 4)
WORLD = GaussianWorld(NoiseSchedule.linear(50), mean=0.1, var=0.25)
EXAMPLES = Examples(torch.full((3, 1, 4, 4), 140, dtype=torch.uint8))
GRID = even(50, 8)


class BrokenAt(PerfectTrunk):
    """The world's own mean, and a value of another kind at one time."""

    def __init__(self, t: int, value: float) -> None:
        super().__init__(WORLD)
        self.t, self.value = t, value

    def forward(self, x: Tensor, times: Tensor) -> tuple[Tensor, Features]:
        out, features = super().forward(x, times)
        return torch.where(times[:, None, None, None] == self.t, self.value, out), features


class BrokenCovariance(Covariance):
    """1/4 but for one time, where it is no number."""

    name = "broken"
    needs = ()
    t = GRID.times[4]

    def unbounded(self, look: Look) -> Diagonal:
        value = math.nan if look.time == self.t else 0.25
        return Diagonal(PIXEL, torch.full_like(look.x_t, value))


def model(t: int, value: float) -> MeanModel:
    return MeanModel(BrokenAt(t, value), Reading(WORLD.schedule, DATA, OUR_TIMES)).freeze()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("t", [GRID.times[0], GRID.times[3], GRID.times[-1]])
@pytest.mark.parametrize("solver", ["ddpm", "ddim", "dpmpp", "unipc"])
def test_the_network_while_sampling(solver: str, t: int, value: float) -> None:
    mean = model(t, value)
    sampler = Sampler.of(mean, make_covariance("small", mean), steps=8, solver=solver)
    said = f"NaN or infinity while sampling, first in what the network predicts at t={t}; the mean model or"
    with pytest.raises(NonFiniteError, match=said):
        draw(sampler, 2)


def test_a_covariance_while_sampling() -> None:
    mean = model(0, 0.0)
    sampler = Sampler.of(mean, BrokenCovariance(Ingredients.of(mean.schedule, mean.data)), steps=8)
    said = f"first in the noise of the broken covariance at t={BrokenCovariance.t};"
    with pytest.raises(NonFiniteError, match=said):
        draw(sampler, 2)


def test_the_time_of_a_sweep() -> None:
    said = r"predicts NaN or infinite noise at t=20 \(2 of 6 images of the batch\)"
    with pytest.raises(NonFiniteError, match=said):
        estimate(model(20, math.nan), EXAMPLES, [VarianceTable], (10, 20, 30), 2, batch_size=6)


def test_the_time_of_a_look_at_images() -> None:
    with pytest.raises(NonFiniteError, match=r"at t=30 \(3 of 6 images of the batch\)"):
        list(look_along(model(30, math.inf), EXAMPLES, (10, 30), batch_size=6))


def test_the_time_along_the_probability_flow() -> None:
    grid = even(50, 8)
    said = f"NaN or infinity along the probability flow, first in the images at t={grid.times[3]}; the mean is broken"
    with pytest.raises(NonFiniteError, match=said):
        flow_likelihood(model(grid.times[3], math.nan), EXAMPLES, grid)


def test_a_watch_asks_once_and_knows_the_first() -> None:
    watch = Watch()
    watch.require("while nothing was done", "go on")
    for t in (9, 7, 5):
        watch.see("a", t, torch.ones(3))
        watch.see("b", t, torch.tensor([1.0, math.nan if t < 9 else 0.0]))
    assert watch.first() == ("b", 7)
    with pytest.raises(NonFiniteError, match=r"^NaN or infinity while testing, first in b at t=7; mend it$"):
        watch.require("while testing", "mend it")


def test_the_start_while_sampling() -> None:
    mean, nan = model(0, 0.0), torch.full(DATA.shape, math.nan, dtype=torch.float64)
    start = GaussianStart(PIXEL, nan, nan.abs(), {})
    sampler = replace(Sampler.of(mean, make_covariance("small", mean), steps=8), start=start)
    with pytest.raises(NonFiniteError, match=f"first in the start at t={GRID.times[-1]};"):
        draw(sampler, 2)


def test_the_mean_of_a_step_while_sampling(monkeypatch: pytest.MonkeyPatch) -> None:
    mean, whole, at = model(0, 0.0), DDPM.walk, GRID.times[4]

    class Broken:
        def __init__(self, inner: Walk) -> None:
            self.inner = inner

        def mean(self, step: Step, look: Look) -> Tensor:
            return self.inner.mean(step, look) * (math.nan if step.t == at else 1)

    monkeypatch.setattr(DDPM, "walk", lambda self, steps: Broken(whole(self, steps)))
    with pytest.raises(NonFiniteError, match=f"first in the mean of the step by ddpm at t={at};"):
        draw(Sampler.of(mean, make_covariance("small", mean), steps=8), 2)
