"""The reason the project exists: on Gaussian data the sampler's output variance follows a scalar recursion.

Every pixel of x_t stays Gaussian, so one step is V_s = slope^2 V_t + var_xs with the slope of the mean in x_t. The
last step (s = 0) is noised as well. With `analytic` the output has exactly the data's mean and variance.
"""

from __future__ import annotations

import pytest
import torch

from diffcov.covariance import registry
from diffcov.covariance.base import Covariance, Fitted
from diffcov.diffusion.grid import TRAJECTORIES, Trajectory, even
from diffcov.diffusion.process import DDIM, DDPM, Process, Step, x0_from_eps
from diffcov.diffusion.schedule import NoiseSchedule
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
PROCESSES = [DDPM(), DDIM(0.0), DDIM(0.5)]


def output_moments(world: GaussianWorld, process: Process, covariance: Covariance, steps: Trajectory) -> list[float]:
    """[mean, variance] of the samples, started from the exact marginal of x_T, by the real classes alone."""
    schedule = world.schedule
    mean, variance = world.marginal_mean(steps.times[-1]), world.marginal_var(steps.times[-1])
    for s, t in steps.pairs():
        step = Step(schedule, s, t, process.eta)
        x_t = torch.tensor([mean, mean + 1], dtype=torch.float64)
        prediction = world.predict(x_t, t)
        x0_hat = x0_from_eps(schedule, x_t, t, prediction.eps_hat)
        mean, ahead = process.mean(step, x_t, x0_hat, prediction.eps_hat).tolist()
        variance = (ahead - mean) ** 2 * variance + float(covariance.var_xs(step, prediction, var_bound=1.0))
    return [mean, variance]


def build(name: str, world: GaussianWorld) -> Covariance:
    return registry.load(name).build(Fitted(table=world.table()))


@pytest.mark.parametrize("name", ["analytic", "corrected"])
@pytest.mark.parametrize("process", PROCESSES, ids=str)
def test_the_output_has_the_variance_of_the_data(process: Process, name: str) -> None:
    world = GaussianWorld(LINEAR, mean=0.0, var=0.25)
    covariance = build(name, world)
    for K in SOME_K:
        assert output_moments(world, process, covariance, even(T, K)) == pytest.approx([0, 0.25], abs=EXACT), K


@pytest.mark.slow
@pytest.mark.parametrize("process", PROCESSES, ids=str)
def test_the_output_has_the_variance_of_the_data_for_every_k(process: Process) -> None:
    world = GaussianWorld(LINEAR, mean=0.0, var=0.25)
    covariance = build("analytic", world)
    for K in range(1, T + 1):
        assert output_moments(world, process, covariance, even(T, K)) == pytest.approx([0, 0.25], abs=EXACT), K


@pytest.mark.parametrize("var", [0.05, 0.25, 1.0])
@pytest.mark.parametrize("mean", [0.0, 0.3])
@pytest.mark.parametrize(("schedule", "tolerance"), [(LINEAR, EXACT), (NoiseSchedule.cosine(T), COSINE)], ids=str)
@pytest.mark.parametrize("process", PROCESSES, ids=str)
def test_any_gaussian_any_schedule(
    process: Process, schedule: NoiseSchedule, tolerance: float, mean: float, var: float
) -> None:
    world = GaussianWorld(schedule, mean, var)
    covariance = build("analytic", world)
    for K in FEW_K:
        moments = output_moments(world, process, covariance, even(T, K))
        assert moments == pytest.approx([mean, var], abs=tolerance), K


@pytest.mark.parametrize("name", ["ddim", "quad"])
def test_any_trajectory(name: str) -> None:
    world = GaussianWorld(LINEAR, mean=0.2, var=0.25)
    for process in PROCESSES:
        moments = output_moments(world, process, build("analytic", world), TRAJECTORIES[name](T, 13))
        assert moments == pytest.approx([0.2, 0.25], abs=EXACT)


@pytest.mark.parametrize(
    ("process", "name", "by_K"),
    [
        (DDPM(), "small", {5: 0.0440, 10: 0.1042, 50: 0.1964, 1000: 0.2461}),
        (DDPM(), "large", {5: 0.5585, 10: 0.3586, 50: 0.2680, 1000: 0.2509}),
        (DDPM(), "analytic", {5: 0.25, 10: 0.25, 50: 0.25, 1000: 0.25}),
        (DDIM(), "small", {5: 0.0507, 10: 0.1308, 50: 0.2227, 1000: 0.2485}),
        (DDIM(), "analytic", {5: 0.25, 10: 0.25, 50: 0.25, 1000: 0.25}),
    ],
    ids=lambda v: v if isinstance(v, str) else None,
)
def test_what_each_guess_does_to_the_variance(process: Process, name: str, by_K: dict[int, float]) -> None:
    """Data variance 0.25; an independent script gave these numbers."""
    world = GaussianWorld(LINEAR, mean=0.0, var=0.25)
    covariance = build(name, world)
    for K, expected in by_K.items():
        assert output_moments(world, process, covariance, even(T, K))[1] == pytest.approx(expected, abs=FOUR_DIGITS), K


@pytest.mark.parametrize("schedule", [LINEAR, NoiseSchedule.cosine(T)], ids=str)
def test_large_is_exact_for_white_noise_data(schedule: NoiseSchedule) -> None:
    world = GaussianWorld(schedule, mean=0.0, var=1.0)
    for K in FEW_K:
        assert output_moments(world, DDPM(), build("large", world), even(T, K)) == pytest.approx([0, 1], abs=EXACT)


@pytest.mark.parametrize(("s", "t"), [(0, 1), (1, 2), (499, 500), (0, 1000), (100, 1000), (999, 1000)])
def test_large_is_beta_ts(s: int, t: int) -> None:
    world = GaussianWorld(LINEAR, mean=0.0, var=1.0)
    step = Step(LINEAR, s, t)
    found = build("large", world).var_xs(step, world.predict(torch.zeros(1, dtype=torch.float64), t), var_bound=1.0)
    assert float(found) == pytest.approx(step.beta_ts, rel=1e-12)


@pytest.mark.parametrize(("s", "t"), [(0, 1), (1, 2), (499, 500), (100, 1000), (999, 1000)])
def test_analytic_lies_between_the_bounds_of_the_theorem(s: int, t: int) -> None:
    """beta_tilde <= var <= beta_ts / alpha_ts for 0 <= Gamma <= 1; both are attained (at 1 and at 0)."""
    step, no_data_bound = Step(LINEAR, s, t), 1e9
    nothing = GaussianWorld(LINEAR, 0.0, 1.0).predict(torch.zeros(1, dtype=torch.float64), t)
    found = []
    for norm in (1.0, 0.5, 0.0):
        table = GaussianWorld(LINEAR, 0.0, 1.0).table()
        table.eps_hat_sq.fill_(norm)
        found.append(float(registry.load("analytic").build(Fitted(table)).var_xs(step, nothing, no_data_bound)))
    assert found[0] == pytest.approx(step.beta_tilde, rel=1e-12)
    assert found[0] < found[1] < found[2]
    assert found[2] == pytest.approx(step.beta_ts / step.alpha_ts, rel=1e-9)
