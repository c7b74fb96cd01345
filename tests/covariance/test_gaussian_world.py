"""The reason the project exists: on Gaussian data the sampler's output variance follows a scalar recursion.

Every pixel of x_t stays Gaussian, so one step is V_s = slope^2 V_t + var_xs with the slope of the mean in x_t. The
last step (s = 0) is noised as well. With `analytic` the output has exactly the data's mean and variance.
"""

from __future__ import annotations

import pytest
import torch

from diffcov.covariance import registry
from diffcov.covariance.base import Covariance
from diffcov.covariance.ingredients import Ingredients
from diffcov.data import DataDescription
from diffcov.denoiser.look import Look
from diffcov.diffusion.grid import Grid
from diffcov.diffusion.grids import GRIDS, even
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.diffusion.step import Step
from diffcov.errors import InputError
from diffcov.nets.features import Features
from diffcov.solver.base import Solver
from diffcov.solver.ddim import DDIM
from diffcov.solver.ddpm import DDPM
from diffcov.statistics.table import VarianceTable
from oracles.gaussian import GaussianWorld

T = 1000
EXACT = 1e-9
"""Absolute: up to 1000 steps of float64, after a division by sqrt(abar_T) = 6e-3."""

COSINE = 1e-7
"""Absolute: 1 - Gamma_T is 2.4e-9 there, so a table that stores Gamma_T in float64 keeps 7 digits of var_x0."""

FOUR_DIGITS = 5e-5
"""Half a unit of the last digit printed in the tables."""

SOME_K = [*range(1, 31), 50, 100, 333, 999, 1000]
FEW_K = [1, 2, 5, 10, 29, 100]
LINEAR = NoiseSchedule.linear(T)
SOLVERS: list[Solver] = [DDPM(), DDIM(0.0), DDIM(0.5)]
DATA = DataDescription(1, 1, 1)


def pixels(*values: float) -> torch.Tensor:
    """Images of one pixel."""
    return torch.tensor(values, dtype=torch.float64)[:, None, None, None]


def output_moments(world: GaussianWorld, solver: Solver, covariance: Covariance, grid: Grid) -> list[float]:
    """[mean, variance] of the samples, started from the exact marginal of x_T, by the real classes alone."""
    schedule = world.schedule
    mean, variance = world.marginal_mean(grid.times[-1]), world.marginal_var(grid.times[-1])
    steps = solver.steps(schedule, grid)
    walk = solver.walk(steps)
    for step in steps:
        look = world.look(pixels(mean, mean + 1), step.t)
        mean, ahead = walk.mean(step, look).flatten().tolist()
        variance = (ahead - mean) ** 2 * variance + float(covariance.at(look).lifted(step).var)
    return [mean, variance]


def build(name: str, world: GaussianWorld) -> Covariance:
    return of_table(name, world.schedule, world.table())


def of_table(name: str, schedule: NoiseSchedule, table: VarianceTable, data: DataDescription = DATA) -> Covariance:
    return registry.load(name)(Ingredients.of(schedule, data, table))


@pytest.mark.parametrize("name", ["analytic", "corrected"])
@pytest.mark.parametrize("solver", SOLVERS, ids=str)
def test_the_output_has_the_variance_of_the_data(solver: Solver, name: str) -> None:
    world = GaussianWorld(LINEAR, mean=0.0, var=0.25)
    covariance = build(name, world)
    for K in SOME_K:
        assert output_moments(world, solver, covariance, even(T, K)) == pytest.approx([0, 0.25], abs=EXACT), K


@pytest.mark.slow
@pytest.mark.parametrize("solver", SOLVERS, ids=str)
def test_the_output_has_the_variance_of_the_data_for_every_k(solver: Solver) -> None:
    world = GaussianWorld(LINEAR, mean=0.0, var=0.25)
    covariance = build("analytic", world)
    for K in range(1, T + 1):
        assert output_moments(world, solver, covariance, even(T, K)) == pytest.approx([0, 0.25], abs=EXACT), K


@pytest.mark.parametrize("var", [0.05, 0.25, 1.0])
@pytest.mark.parametrize("mean", [0.0, 0.3])
@pytest.mark.parametrize(("schedule", "tolerance"), [(LINEAR, EXACT), (NoiseSchedule.cosine(T), COSINE)], ids=str)
@pytest.mark.parametrize("solver", SOLVERS, ids=str)
def test_any_gaussian_any_schedule(
    solver: Solver, schedule: NoiseSchedule, tolerance: float, mean: float, var: float
) -> None:
    world = GaussianWorld(schedule, mean, var)
    covariance = build("analytic", world)
    for K in FEW_K:
        moments = output_moments(world, solver, covariance, even(T, K))
        assert moments == pytest.approx([mean, var], abs=tolerance), K


@pytest.mark.parametrize("name", ["stride", "quad"])
def test_any_grid(name: str) -> None:
    world = GaussianWorld(LINEAR, mean=0.2, var=0.25)
    for solver in SOLVERS:
        moments = output_moments(world, solver, build("analytic", world), GRIDS[name](LINEAR, 13))
        assert moments == pytest.approx([0.2, 0.25], abs=EXACT)


@pytest.mark.parametrize(
    ("solver", "name", "by_K"),
    [
        (DDPM(), "small", {5: 0.0440, 10: 0.1042, 50: 0.1964, 1000: 0.2461}),
        (DDPM(), "large", {5: 0.5585, 10: 0.3586, 50: 0.2680, 1000: 0.2509}),
        (DDPM(), "analytic", {5: 0.25, 10: 0.25, 50: 0.25, 1000: 0.25}),
        (DDIM(), "small", {5: 0.0507, 10: 0.1308, 50: 0.2227, 1000: 0.2485}),
        (DDIM(), "analytic", {5: 0.25, 10: 0.25, 50: 0.25, 1000: 0.25}),
    ],
    ids=lambda v: v if isinstance(v, str) else None,
)
def test_what_each_guess_does_to_the_variance(solver: Solver, name: str, by_K: dict[int, float]) -> None:
    """Data variance 0.25; an independent script gave these numbers."""
    world = GaussianWorld(LINEAR, mean=0.0, var=0.25)
    covariance = build(name, world)
    for K, expected in by_K.items():
        assert output_moments(world, solver, covariance, even(T, K))[1] == pytest.approx(expected, abs=FOUR_DIGITS), K


@pytest.mark.parametrize("schedule", [LINEAR, NoiseSchedule.cosine(T)], ids=str)
def test_large_is_exact_for_white_noise_data(schedule: NoiseSchedule) -> None:
    world = GaussianWorld(schedule, mean=0.0, var=1.0)
    for K in FEW_K:
        assert output_moments(world, DDPM(), build("large", world), even(T, K)) == pytest.approx([0, 1], abs=EXACT)


@pytest.mark.parametrize(("s", "t"), [(0, 1), (1, 2), (499, 500), (0, 1000), (100, 1000), (999, 1000)])
def test_large_is_beta_ts(s: int, t: int) -> None:
    world = GaussianWorld(LINEAR, mean=0.0, var=1.0)
    step = Step(LINEAR, s, t)
    found = build("large", world).at(world.look(pixels(0.0), t)).lifted(step)
    assert float(found.var) == pytest.approx(step.beta_ts, rel=1e-12)


@pytest.mark.parametrize(("s", "t"), [(0, 1), (1, 2), (499, 500), (100, 1000), (999, 1000)])
def test_analytic_lies_between_the_bounds_of_the_theorem(s: int, t: int) -> None:
    """beta_tilde <= var <= beta_ts / alpha_ts for 0 <= Gamma <= 1; both are attained (at 1 and at 0)."""
    step, no_data_bound = Step(LINEAR, s, t), DataDescription(1, 1, 1, low=-3e4, high=3e4)
    nothing = GaussianWorld(LINEAR, 0.0, 1.0).look(pixels(0.0), t)
    found = []
    for norm in (1.0, 0.5, 0.0):
        table = GaussianWorld(LINEAR, 0.0, 1.0).table()
        table.eps_hat_sq.fill_(norm)
        analytic = of_table("analytic", LINEAR, table, no_data_bound)
        found.append(float(analytic.at(nothing).lifted(step).var))
    assert found[0] == pytest.approx(step.beta_tilde, rel=1e-12)
    assert found[0] < found[1] < found[2]
    assert found[2] == pytest.approx(step.beta_ts / step.alpha_ts, rel=1e-9)


# --- where x_T holds nothing of x_0

TO_ZERO = NoiseSchedule.from_alpha_bar([0.9, 0.5, 0.1, 0.0])
NOISE = Look(pixels(0.3), 4, pixels(0.1), pixels(0.3), pixels(0.3), Features(pixels(0.3), pixels(0.3)))


def test_corrected_then_holds_the_error_of_x0_itself() -> None:
    """In the unit r = 1, for that of eps says nothing: x_0 is as uncertain as it is without any x_t."""
    table = GaussianWorld(TO_ZERO, mean=0.1, var=0.25).table()
    table.error_sq[4] = 0.25
    found = of_table("corrected", TO_ZERO, table).at(NOISE)
    assert float(found.var) == 0.25
    step = Step(TO_ZERO, 3, 4)
    assert float(found.lifted(step).var) == pytest.approx(0.1 * 0.25 + 0.9, rel=1e-12), "all of x_3"


def test_analytic_then_has_no_value_and_says_so() -> None:
    analytic = of_table("analytic", TO_ZERO, GaussianWorld(TO_ZERO, mean=0.1, var=0.25).table())
    with pytest.raises(InputError, match=r"analytic has no value at t=4, where alpha_bar is 0 .* use corrected"):
        analytic.at(NOISE)
    assert float(analytic.at(NOISE.rows(slice(None), 3)).var) > 0
