"""A solver that remembers earlier looks runs through the loop as it is, and starts afresh with each batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from diffcov.covariance import registry
from diffcov.covariance.ingredients import Ingredients
from diffcov.covariance.small import Small
from diffcov.data import DataDescription
from diffcov.denoiser.base import View
from diffcov.denoiser.look import Look
from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.through import through
from diffcov.diffusion.grid import Grid, explicit
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.diffusion.step import Step
from diffcov.engines.meters.likelihood import check_bounded
from diffcov.engines.sampler import Sampler
from diffcov.engines.sampling import draw, generate, sample
from diffcov.errors import UsageError
from diffcov.noise import GivenNoise, ImageNoise
from diffcov.solver.base import Solver
from diffcov.solver.ddim import DDIM
from oracles.gaussian import GaussianWorld
from oracles.tiny import tiny_covariance, tiny_model
from oracles.trunks import perfect_model

SCHEDULE = NoiseSchedule.linear(1000)
WORLD = GaussianWorld(SCHEDULE, mean=0.1, var=0.25)
DATA = DataDescription(1, 2, 3, levels=17)


def half_log_snr(schedule: NoiseSchedule, t: int) -> float:
    """The time in which x_0_hat is nearly straight."""
    return float(schedule.log_snr[t]) / 2


class TwoStepWalk:
    """Adams and Bashforth's second formula on x0_hat, in half the log-SNR; the first step has no memory."""

    def __init__(self) -> None:
        self.before: tuple[float, Tensor] | None = None
        self.seen: list[int] = []

    def mean(self, step: Step, look: Look) -> Tensor:
        now, x0_hat = half_log_snr(step.schedule, step.t), look.x0_hat
        if self.before is not None and step.s > 0:
            then, x0_then = self.before
            ahead = (half_log_snr(step.schedule, step.s) - now) / (now - then)
            x0_hat = x0_hat + ahead / 2 * (x0_hat - x0_then)
        self.before = now, look.x0_hat
        self.seen.append(look.time)
        return step.mean_from_x_t(x0_hat, look.x_t)


@dataclass(frozen=True)
class TwoStep(Solver):
    """DPM-Solver++(2M) without its noise; keeps its walks for the test to look at."""

    walks: list[TwoStepWalk] = field(default_factory=list, compare=False)

    name = "two-step"
    summary = "Adams-Bashforth on x0_hat"
    reference = "arXiv 2211.01095, algorithm 2"
    eta = 0.0
    order = 2

    def walk(self, steps: Sequence[Step]) -> TwoStepWalk:
        self.walks.append(TwoStepWalk())
        return self.walks[-1]


def even_in_log_snr(K: int, last: int = 900) -> Grid:
    """K times from 20 to ``last``."""
    x = SCHEDULE.log_snr
    wanted = torch.linspace(float(x[20]), float(x[last]), K, dtype=torch.float64)
    return explicit(1000, sorted({int((x[1:] - w).abs().argmin()) + 1 for w in wanted}))


def sampler(solver: Solver, grid: Grid, view: View | None = None) -> Sampler:
    """Of a perfect mean in float64; without a view there is nothing between."""
    seen = through(perfect_model(WORLD, DATA).double(), view or View())
    return Sampler(seen, Small(Ingredients.of(SCHEDULE, DATA)), solver, grid, cap_levels=None)


def start(count: int = 4) -> Tensor:
    return torch.randn(count, *DATA.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def noiseless(x_T: Tensor, grid: Grid) -> GivenNoise:
    """Start noise, and draws that are multiplied by a variance of 0."""
    return GivenNoise([x_T, *(torch.zeros_like(x_T) for _ in grid.times[1:])])


# --- the loop gives it what it needs


def by_hand(x: Tensor, grid: Grid) -> Tensor:
    """Written out as published: x_s = sigma_s / sigma_t x_t + a_s (1 - e^-h) D, D of this look and the last."""
    before: tuple[float, Tensor] | None = None
    for s, t in grid.pairs():
        (a_t, b_t), (a_s, b_s) = (
            (float(SCHEDULE.alpha_bar[k]) ** 0.5, float(SCHEDULE.beta_bar[k]) ** 0.5) for k in (t, s)
        )
        x_0 = (x - b_t * WORLD.eps_hat(x, t)) / a_t
        lambda_t = math.log(a_t / b_t)
        if s == 0:
            return x_0
        h, D = math.log(a_s / b_s) - lambda_t, x_0
        if before is not None:
            r = (lambda_t - before[0]) / h
            D = (1 + 1 / (2 * r)) * x_0 - 1 / (2 * r) * before[1]
        x = b_s / b_t * x - a_s * math.expm1(-h) * D
        before = lambda_t, x_0
    raise AssertionError("the last step ends at the data")


@pytest.mark.parametrize("grid", [explicit(1000, (900,)), explicit(1000, (20, 300, 800)), even_in_log_snr(12)])
def test_its_samples_are_those_of_the_published_recursion(grid: Grid) -> None:
    found = sample(sampler(TwoStep(), grid), noiseless(start(), grid))
    torch.testing.assert_close(found, by_hand(start(), grid), rtol=0, atol=1e-11)


def flow(x_T: Tensor, T: int, t: int) -> Tensor:
    """Where the probability flow takes x_T: in a Gaussian world the standardised value stands still."""
    z = (x_T - WORLD.marginal_mean(T)) / WORLD.marginal_var(T) ** 0.5
    return WORLD.marginal_mean(t) + WORLD.marginal_var(t) ** 0.5 * z


def miss(solver: Solver, K: int) -> float:
    """How far x at the first time of the grid is from where the flow takes it; the last step is not taken."""
    grid, seen = even_in_log_snr(K), []
    sample(sampler(solver, grid), noiseless(start(), grid), on_look=lambda look: seen.append(look.x_t))
    return float((seen[-1] - flow(start(), grid.times[-1], grid.times[0])).abs().max())


def test_memory_makes_it_one_order_better() -> None:
    """Twice the steps: half the error without memory, a quarter with it."""
    for solver, order in ((DDIM(), 1), (TwoStep(), 2)):
        assert solver.order == order
        errors = [miss(solver, K) for K in (20, 40, 80)]
        for coarse, fine in pairwise(errors):
            assert math.log2(coarse / fine) == pytest.approx(order, abs=0.35), (solver.name, errors)
    assert miss(TwoStep(), 80) < miss(DDIM(), 80) / 5


def test_it_sees_each_look_once_in_the_order_of_the_grid() -> None:
    solver, grid = TwoStep(), even_in_log_snr(6)
    told: list[int] = []
    sample(sampler(solver, grid), noiseless(start(), grid), on_look=lambda look: told.append(look.time))
    (walk,) = solver.walks
    assert walk.seen == told == list(reversed(grid.times))


def test_it_sees_through_the_view() -> None:
    """What it remembers is the x0_hat that was clipped and scaled."""
    solver, grid = TwoStep(), even_in_log_snr(6)
    seen: list[Look] = []
    chosen = sampler(solver, grid, View(clip_x0=True, eps_scale=1.1))
    sample(chosen, noiseless(3 * start(), grid), on_look=seen.append)
    (walk,) = solver.walks
    assert walk.before is not None
    assert torch.equal(walk.before[1], seen[-1].x0_hat)
    assert float(walk.before[1].abs().max()) == 1, "the clip bites"


# --- it starts afresh


@pytest.mark.parametrize("batch_size", [1, 2, 4, 7])
def test_its_walk_starts_afresh_with_each_batch(batch_size: int) -> None:
    """So batches do not matter: what was remembered of other images would be wrong, and of another shape."""
    grid = even_in_log_snr(5)
    whole = draw(sampler(TwoStep(), grid), 7, batch_size=7)
    solver = TwoStep()
    parts = list(generate(sampler(solver, grid), 7, batch_size=batch_size))
    assert torch.equal(torch.cat(parts), whole)
    assert len(solver.walks) == len(parts) == math.ceil(7 / batch_size)
    assert all(walk.seen == list(reversed(grid.times)) for walk in solver.walks)


def test_a_sampler_draws_the_same_twice() -> None:
    """It remembers nothing of an earlier sampling."""
    grid = even_in_log_snr(5)
    chosen = sampler(TwoStep(), grid)
    first, second = (sample(chosen, noiseless(start(), grid)) for _ in range(2))
    assert torch.equal(first, second)


def test_two_samplings_may_be_interleaved() -> None:
    """Generators that advance in turn walk each their own way."""
    grid = even_in_log_snr(5)
    chosen = sampler(TwoStep(), grid)
    one, other = generate(chosen, 4, batch_size=2), generate(chosen, 4, batch_size=2, first=4)
    turns = [next(batches) for _ in range(2) for batches in (one, other)]
    found = torch.cat([turns[0], turns[2], turns[1], turns[3]])
    assert torch.equal(found, draw(chosen, 8, batch_size=8))


# --- beside everything else


@pytest.fixture(scope="module")
def model() -> MeanModel:
    return tiny_model(50)


@pytest.mark.parametrize("name", registry.COVARIANCES)
def test_every_covariance_adds_its_noise_to_it(model: MeanModel, name: str) -> None:
    """Lifted by the step of order 1; no look more than K."""
    solver, grid = TwoStep(), explicit(50, (3, 10, 22, 30))
    covariance = tiny_covariance(name, model)
    if registry.load(name).of_ddpm:
        with pytest.raises(UsageError, match="means nothing for two-step, whose steps are others"):
            Sampler(model, covariance, solver, grid, None)
        return
    chosen = Sampler(through(model, View(clip_x0=True)), covariance, solver, grid, cap_levels=1.0)
    model.network.batches.clear()
    looks: list[Look] = []
    found = sample(chosen, ImageNoise(0, range(2), model.data.shape), on_look=looks.append)
    assert model.network.batches == [2] * 4
    noise, walk = ImageNoise(0, range(2), model.data.shape), TwoStepWalk()
    noise.draw()
    for (s, t), look, after in zip(grid.pairs(), looks, [*looks[1:], None], strict=True):
        step = Step(model.schedule, s, t, 0.0)
        mean = walk.mean(step, look)
        if after is None:
            assert torch.equal(found, mean)
        elif s != grid.times[0]:  # where it is not capped
            added = covariance.at(look).lifted(step).color(noise.draw())
            torch.testing.assert_close(after.x_t, mean + added, rtol=0, atol=1e-6)


def test_it_is_named_where_solvers_are_named() -> None:
    grid = even_in_log_snr(5)
    chosen = sampler(TwoStep(), grid)
    assert chosen.label == f"small-two-step-{grid.label}-lastoff-noclip-seed0"
    assert chosen.as_dict()["solver"] == {"name": "two-step", "eta": 0.0}
    with pytest.raises(UsageError, match="two-step has no bound on the likelihood"):
        check_bounded(chosen.solver)
