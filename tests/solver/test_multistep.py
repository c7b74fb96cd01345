"""Solvers that remember: their order of convergence, their ends, and what the weight and the writing decide."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from diffcov.denoiser.look import Look
from diffcov.diffusion.grid import explicit
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.diffusion.step import Step
from diffcov.errors import UsageError
from diffcov.solver.base import Solver
from diffcov.solver.ddim import DDIM
from diffcov.solver.ddpm import DDPM
from diffcov.solver.multistep import Multistep
from diffcov.solver.registry import SOLVERS, load, make_solver
from oracles.gaussian import GaussianWorld
from oracles.measured import told_look
from oracles.mixture import MixtureWorld

FINE = NoiseSchedule.vp(100_000)
"""So many times that a grid can be even in any variable."""
MULTISTEP = [name for name in SOLVERS if issubclass(load(name), Multistep)]
METHODS = [
    (name, order) for name in MULTISTEP for order in load(name).orders if not load(name).needs and name != "er-sde"
]
LAMBDA, SIGMA, LOG_SIGMA = "lambda", "sigma", "log sigma"
OWN = {"dpmpp": LAMBDA, "unipc": LAMBDA, "deis": LOG_SIGMA, "ipndm": SIGMA}
"""The variable in which the polynomials of a solver are, and in which ipndm's steps have to be equal."""


def even(variable: str, last: int, width: float, count: int) -> list[int]:
    """Times downward, ``width`` apart in the variable; the fifth is ``last``."""
    lambdas = FINE.log_snr / 2
    values = (-lambdas).exp() if variable == SIGMA else -lambdas
    return [int((values[1:] - (values[last] + (4 - k) * width)).abs().argmin()) + 1 for k in range(count)]


World = GaussianWorld | MixtureWorld


def flow(world: World, x: Tensor, t: int, s: int) -> Tensor:
    """Where the probability flow takes x: quantiles stand still, and in one dimension nothing else is needed."""
    if isinstance(world, GaussianWorld):
        z = (x - world.marginal_mean(t)) / world.marginal_var(t) ** 0.5
        return world.marginal_mean(s) + world.marginal_var(s) ** 0.5 * z
    target = cumulative(world, x, t)
    low, high = torch.full_like(x, -10), torch.full_like(x, 10)
    for _ in range(80):
        middle = (low + high) / 2
        below = cumulative(world, middle, s) < target
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


def cumulative(world: MixtureWorld, x: Tensor, t: int) -> Tensor:
    weights, means, variances = world._numbers()
    abar, bbar = float(world.schedule.alpha_bar[t]), float(world.schedule.beta_bar[t])
    normal = torch.distributions.Normal(abar**0.5 * means, (abar * variances + bbar).sqrt())
    return (weights * normal.cdf(x[..., None])).sum(-1)


def look_at(world: World, x: Tensor, t: int) -> Look:
    return told_look(world.schedule, x, t, world.eps_hat(x, t))


def local_error(world: World, solver: Solver, width: float) -> float:
    """Of the fifth of eight steps, where every method has its full order; all looks are at exact places."""
    name = type(solver).name
    times = even(OWN[name], {SIGMA: 45_000}.get(OWN[name], 60_000), width, 8)
    grid = explicit(FINE.T, sorted(times))
    steps = solver.steps(FINE, grid)
    walk, x = solver.walk(steps), torch.linspace(-1.2, 1.5, 7, dtype=torch.float64).reshape(1, 1, 1, 7)
    taken, found = 5, x
    for step in steps[:taken]:
        here = flow(world, x, steps[0].t, step.t)
        found = walk.mean(step, look_at(world, here, step.t))
    exact = flow(world, x, steps[0].t, steps[taken - 1].s)
    return float((found - exact).abs().max())


@pytest.mark.parametrize("world", [GaussianWorld(FINE, 0.1, 0.25), MixtureWorld(FINE)], ids=["gaussian", "mixture"])
@pytest.mark.parametrize(("name", "order"), METHODS)
def test_the_order_is_what_it_says(name: str, order: int, world: World) -> None:
    """One step is off by h^(accuracy + 1); a little less where the next term has the other sign."""
    solver = make_solver(name, order=order)
    assert solver.order == order
    coarse, fine = (local_error(world, solver, width) for width in (0.16, 0.08))
    assert -0.3 < math.log2(coarse / fine) - (solver.accuracy + 1) < 0.7, (coarse, fine)


@pytest.mark.parametrize("name", MULTISTEP)
def test_weight_0_and_order_1_are_one_step_methods(name: str) -> None:
    if load(name).needs:
        pytest.skip("it is another method at order 1; see its own tests")
    world = GaussianWorld(NoiseSchedule.linear(1000), 0.1, 0.25)
    for through in ("x_t", "eps_hat"):
        first, still = (make_solver(name, **chosen, through=through) for chosen in ({"order": 1}, {"weight": 0.0}))
        plain: Solver = DDIM() if through == "eps_hat" else DDPM(0.0)
        ends = [states(world, solver, [50, 300, 500, 900]) for solver in (first, still, plain)]
        if name != "unipc":  # at order 1 it still corrects
            torch.testing.assert_close(ends[0], ends[1], rtol=1e-12, atol=1e-12)
        if name != "er-sde":  # its steps are of another eta
            torch.testing.assert_close(ends[1], ends[2], rtol=1e-12, atol=1e-12)


def states(world: GaussianWorld, solver: Solver, times: list[int], x: float = 0.7) -> Tensor:
    """Every mean along a walk, from one x_T, without noise."""
    now, found = torch.full((1, 1, 1, 1), x, dtype=torch.float64), []
    steps = solver.steps(world.schedule, explicit(world.schedule.T, times))
    walk = solver.walk(steps)
    for step in steps:
        now = walk.mean(step, look_at(world, now, step.t))
        found.append(now)
    return torch.cat(found).flatten()


@pytest.mark.parametrize("name", MULTISTEP)
def test_a_constant_x0_hat_has_no_trend(name: str) -> None:
    """Data that are one point: every method takes every step exactly."""
    if load(name).needs:
        pytest.skip("the spectrum of a point is 0")
    schedule, point = NoiseSchedule.linear(1000), 0.3
    for order in load(name).orders:
        solver = make_solver(name, order=order)
        steps = solver.steps(schedule, explicit(1000, [20, 100, 300, 500, 800, 1000]))
        walk, eps = solver.walk(steps), torch.tensor([[[[1.3, -0.4]]]], dtype=torch.float64)
        for step in steps:
            x_t = float(schedule.alpha_bar[step.t]) ** 0.5 * point + float(schedule.beta_bar[step.t]) ** 0.5 * eps
            mean = walk.mean(step, told_look(schedule, x_t, step.t, eps))
            exact = math.sqrt(step.alpha_bar_s) * point + step.direction * eps
            torch.testing.assert_close(mean, exact, rtol=1e-9, atol=1e-9)


def test_both_ends_are_of_lower_order() -> None:
    """Order 3 is 1, 2, 3, .., 2, 1: the first step is DDIM's, the last is x0_hat, that before it is of order 2."""
    world, times = GaussianWorld(NoiseSchedule.linear(1000), 0.1, 0.25), [100, 300, 500, 700, 900]
    third, second = (means_and_looks(world, make_solver("dpmpp", order=order), times) for order in (3, 2))
    plain = means_and_looks(world, make_solver("dpmpp", order=1), times)
    assert third[0][0] == plain[0][0]
    assert third[1][0] == second[1][0]
    assert abs(third[2][0] - second[2][0]) > 1e-4
    assert third[4][0] == third[4][1]
    solver = make_solver("dpmpp", order=3)
    steps = solver.steps(world.schedule, explicit(1000, times))
    walks = solver.walk(steps), make_solver("dpmpp", order=2).walk(steps)
    for number, step in enumerate(steps):
        look = look_at(world, torch.full((1, 1, 1, 1), 0.5 + 0.1 * number**2, dtype=torch.float64), step.t)
        means = [float(walk.mean(step, look)) for walk in walks]
        assert (means[0] == means[1]) == (number != 2), number


def means_and_looks(world: GaussianWorld, solver: Solver, times: list[int]) -> list[tuple[float, float]]:
    now, found = torch.full((1, 1, 1, 1), 0.7, dtype=torch.float64), []
    steps = solver.steps(world.schedule, explicit(world.schedule.T, times))
    walk = solver.walk(steps)
    for step in steps:
        look = look_at(world, now, step.t)
        now = walk.mean(step, look)
        found.append((float(now), float(look.x0_hat)))
    return found


@pytest.mark.parametrize("name", MULTISTEP)
def test_the_trend_is_weighted(name: str) -> None:
    """The mean is straight in the weight, for one step whose looks are given."""
    if name == "unipc":
        pytest.skip("its corrections multiply")
    if load(name).needs:
        pytest.skip("needs a spectrum; see its own tests")
    world = GaussianWorld(NoiseSchedule.linear(1000), 0.1, 0.25)

    def second(weight: float) -> float:
        solver = make_solver(name, order=2, weight=weight)
        steps = solver.steps(world.schedule, explicit(1000, [100, 300, 500, 900]))
        walk, found = solver.walk(steps), 0.0
        for step, x in zip(steps[:2], (0.9, 0.2), strict=True):
            found = float(walk.mean(step, look_at(world, torch.full((1, 1, 1, 1), x, dtype=torch.float64), step.t)))
        return found

    assert second(0.5) == pytest.approx((second(0.0) + second(1.0)) / 2, rel=1e-12)
    assert abs(second(1.0) - second(0.0)) > 1e-5


@pytest.mark.parametrize("through", ["x_t", "eps_hat"])
def test_a_clip_changes_what_the_two_writings_say(through: str) -> None:
    """x_t: the noise is recomputed from the clipped x0_hat. eps_hat: as predicted."""
    schedule = NoiseSchedule.linear(1000)
    look = look_at(GaussianWorld(schedule, 0.1, 4.0), torch.full((1, 1, 1, 2), 3.0, dtype=torch.float64), 500)
    clipped = replace(look, x0_hat=look.x0_hat.clamp(-1, 1))
    assert not torch.equal(look.x0_hat, clipped.x0_hat)
    solver = make_solver("dpmpp", through=through)
    steps = solver.steps(schedule, explicit(1000, [200, 500]))
    step, mean = steps[0], solver.walk(steps).mean(steps[0], clipped)
    wanted = {
        "x_t": step.gamma * clipped.x0_hat + step.direction / math.sqrt(step.beta_bar_t) * look.x_t,
        "eps_hat": math.sqrt(step.alpha_bar_s) * clipped.x0_hat + step.direction * look.eps_hat,
    }
    torch.testing.assert_close(mean, wanted[through], rtol=1e-12, atol=0)
    assert not torch.allclose(wanted["x_t"], wanted["eps_hat"])


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"order": 4}, "^dpmpp has orders 1 to 3, found 4$"),
        ({"weight": -0.1}, "^--weight must be between 0 and 4, found -0.1; 1 is the published one$"),
        ({"through": "x0"}, "^--through takes x_t or eps_hat; found 'x0'$"),
        ({"eta": 2.0}, "^eta must be between 0"),
    ],
)
def test_values_out_of_range_are_refused(chosen: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_solver("dpmpp", **chosen)


def test_noise_of_the_sde_form_is_that_of_the_markov_chain() -> None:
    schedule, grid = NoiseSchedule.linear(1000), explicit(1000, (100, 500, 900))
    assert make_solver("dpmpp", 1.0).steps(schedule, grid) == DDPM().steps(schedule, grid)


# --- er-sde


def published_er_sde(world: GaussianWorld, times: list[int], x: float, order: int) -> list[float]:
    """Algorithm 5 in y = x / alpha and its lambda = sigma / alpha, with sums over a million small steps; no noise."""

    def phi(sigma: Any) -> Any:
        return sigma * (torch.exp(sigma**0.3) + 10)

    alpha = world.schedule.alpha_bar.sqrt()
    sigma = world.schedule.ratio.sqrt()
    found, y, before = [], torch.tensor(x, dtype=torch.float64) / alpha[times[-1]], []
    for t, s in zip(reversed(times), [*reversed(times[:-1]), 0], strict=True):
        x0 = (y * alpha[t] - world.schedule.beta_bar[t].sqrt() * world.eps_hat(y * alpha[t], t)) / alpha[t]
        before.insert(0, (t, x0))
        if s == 0:
            return [*found, float(x0)]
        r = phi(sigma[s]) / phi(sigma[t])
        last = s == times[0]
        y = r * y + (1 - r) * x0
        small = sigma[s] + (torch.arange(1_000_000, dtype=torch.float64) + 0.5) / 1_000_000 * (sigma[t] - sigma[s])
        width = (sigma[t] - sigma[s]) / 1_000_000
        if len(before) > 1 and order > 1:
            d = (x0 - before[1][1]) / (sigma[t] - sigma[before[1][0]])
            y = y + (sigma[s] - sigma[t] + (width / phi(small)).sum() * phi(sigma[s])) * d
            if len(before) > 2 and order > 2 and not last:
                d_old = (before[1][1] - before[2][1]) / (sigma[before[1][0]] - sigma[before[2][0]])
                dd = (d - d_old) / ((sigma[t] - sigma[before[2][0]]) / 2)
                area = (width * (small - sigma[t]) / phi(small)).sum()
                y = y + ((sigma[s] - sigma[t]) ** 2 / 2 + area * phi(sigma[s])) * dd
        found.append(float(y * alpha[s]))
    raise AssertionError("the last step ends at the data")


@pytest.mark.parametrize("order", [1, 2, 3])
def test_er_sde_is_the_published_recursion(order: int) -> None:
    world, times = GaussianWorld(NoiseSchedule.linear(1000), 0.1, 0.25), [1, 120, 250, 500, 750, 1000]
    found = states(world, make_solver("er-sde", order=order), times)
    wanted = torch.tensor(published_er_sde(world, times, 0.7, order), dtype=torch.float64)
    torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-9)


def test_er_sde_keeps_the_marginal() -> None:
    """sigma_s^2 - r^2 sigma_t^2 of noise: what its steps keep is what the forward process holds."""
    schedule = NoiseSchedule.linear(1000)
    for s, t in ((1, 20), (200, 400), (600, 1000), (990, 1000)):
        step = make_solver("er-sde").step(schedule, s, t)
        sigma_s, sigma_t = (math.sqrt(schedule.ratio[k]) for k in (s, t))
        r = sigma_s * (math.exp(sigma_s**0.3) + 10) / (sigma_t * (math.exp(sigma_t**0.3) + 10))
        assert step.lambda2 == pytest.approx(step.alpha_bar_s * (sigma_s**2 - r**2 * sigma_t**2), rel=1e-9)
        assert step.gamma == pytest.approx(math.sqrt(step.alpha_bar_s) * (1 - r), rel=1e-9)


# --- the martingale


def test_along_the_markov_chain_earlier_looks_have_nothing_to_add() -> None:
    """E[x0_hat(x_s) | x_t, x_u] = x0_hat(x_t) for s < t < u: the regression puts 1 on the last look and 0 before it."""
    world = MixtureWorld(NoiseSchedule.linear(1000))
    draw = torch.Generator().manual_seed(0)
    x_0 = world.sample((400_000,), draw)
    looks: Callable[[int, Tensor], Tensor] = lambda t, x: world.mean_x0(x, t)  # noqa: E731
    path, last = {}, x_0
    for before, t in ((0, 200), (200, 400), (400, 600)):
        step = Step(world.schedule, before, t)
        noise = torch.randn(x_0.shape, generator=draw, dtype=torch.float64)
        last = math.sqrt(step.alpha_ts) * last + math.sqrt(step.beta_ts) * noise
        path[t] = looks(t, last)
    design = torch.stack([path[400], path[600], torch.ones_like(x_0)], 1)
    weights = torch.linalg.lstsq(design, path[200][:, None]).solution.flatten()
    residual = path[200] - design @ weights
    stderr = (torch.linalg.inv(design.T @ design).diagonal() * residual.var()).sqrt()
    assert weights[0] == pytest.approx(1.0, abs=float(4 * stderr[0]))
    assert weights[1] == pytest.approx(0.0, abs=float(4 * stderr[1]))
    assert float(stderr.max()) < 0.02
