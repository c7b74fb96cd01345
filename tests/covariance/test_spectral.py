"""``spectral`` in worlds that are diagonal in cosines, where it is exact, and in one that is not."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from diffcov.basis import cosine
from diffcov.covariance import registry
from diffcov.covariance.base import Covariance
from diffcov.covariance.ingredients import Ingredients
from diffcov.data import DataDescription
from diffcov.denoiser.look import Look
from diffcov.diffusion.grids import GRIDS, even
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.sampler import Sampler
from diffcov.engines.sampling import sample
from diffcov.noise import ImageNoise
from diffcov.solver.base import Solver
from diffcov.solver.ddim import DDIM
from diffcov.solver.ddpm import DDPM
from diffcov.statistics.knots import Knots
from diffcov.statistics.spectrum import Spectrum
from oracles.correlated import correlated, world_of
from oracles.diagonal import DiagonalWorld
from oracles.measured import no_rotation, told_look
from oracles.trunks import perfect_model
from oracles.typical import expected_bound, expected_transition, output_covariance

SHAPE = (2, 3, 4)
DATA = DataDescription(*SHAPE)
LINEAR, COSINE = NoiseSchedule.linear(1000), NoiseSchedule.cosine(1000)
SOLVERS: list[Solver] = [DDPM(), DDIM(), DDIM(0.5)]
EXACT = 1e-9
"""Up to a thousand steps of float64."""
COLOUR = torch.tensor([[0.8, 0.6], [-0.6, 0.8]], dtype=torch.float64)
KNOT_ERROR = {"linear": 6e-4, "cosine": 3e-3}
"""Relative, between 32 knots; see test_knots.py."""


def cosine_world(schedule: NoiseSchedule) -> DiagonalWorld:
    """Variances from 5 down to 1e-3: the largest coefficient varies by more than any pixel could, and rightly so."""
    order = torch.randperm(24, generator=torch.Generator().manual_seed(3))[1:]
    var = torch.cat([torch.tensor([5.0]).double(), torch.logspace(0, -3, 24, dtype=torch.float64)[order]])
    return DiagonalWorld(schedule, var.reshape(SHAPE), cosine(*SHAPE, COLOUR))


def build(name: str, world: DiagonalWorld, times: tuple[int, ...], data: DataDescription = DATA) -> Covariance:
    return registry.load(name)(Ingredients.of(world.schedule, data, world.table(), world.spectrum(times)))


def anywhere(schedule: NoiseSchedule, t: int) -> Look:
    image = torch.zeros(1, *SHAPE, dtype=torch.float64)
    return told_look(schedule, image, t, image)


def diagonal_of(world: DiagonalWorld, covariance: Tensor) -> Tensor:
    """Variances of the world's own coefficients."""
    U = world.matrix
    return (U @ covariance @ U.T).diagonal().reshape(world.shape)


# --- var_x0


@pytest.mark.parametrize("schedule", [LINEAR, COSINE], ids=str)
def test_it_is_the_covariance_of_x0(schedule: NoiseSchedule) -> None:
    world = cosine_world(schedule)
    times = (1, 2, 77, 500, 999, 1000)
    everywhere, at_knots = (build("spectral", world, knots) for knots in (times, Knots.spread(schedule, 32).times))
    for t in times:
        truth = world.cov_x0(t)
        exact, nearly = (covariance.unbounded(anywhere(schedule, t)) for covariance in (everywhere, at_knots))
        torch.testing.assert_close(exact.var, truth, rtol=1e-9, atol=0)
        torch.testing.assert_close(nearly.var, truth, rtol=KNOT_ERROR[schedule.name], atol=0)
        assert exact.basis == nearly.basis == world.basis


@pytest.mark.parametrize("t", [1, 200, 1000])
def test_its_mean_over_the_coefficients_is_corrected(t: int) -> None:
    world = cosine_world(LINEAR)
    spectral, corrected = (
        build(name, world, (1, 200, 1000)).unbounded(anywhere(LINEAR, t)).var for name in ("spectral", "corrected")
    )
    assert float(spectral.mean()) == pytest.approx(float(corrected), rel=1e-9)
    assert t == 1 or float(spectral.max() / spectral.min()) > 10, "or it would be corrected itself"


def test_a_coefficient_may_vary_more_than_a_pixel() -> None:
    """Held to var_bound (sum |u|)^2: the grey mean of 24 pixels in [-1, 1] can have variance 24, a pixel 1."""
    found, tight = (
        build("spectral", cosine_world(LINEAR), (1, 500, 1000), DataDescription(*SHAPE, low=-half, high=half))
        .at(anywhere(LINEAR, 1000))
        .var
        for half in (1.0, 0.1)
    )
    assert float(found[0, 0, 0]) > 4.9
    U = cosine_world(LINEAR).matrix
    torch.testing.assert_close(tight, found.minimum(0.01 * U.abs().sum(1).square().reshape(SHAPE)), rtol=1e-12, atol=0)
    assert float(tight[0, 0, 0]) < 0.5


def test_large_images_in_cells() -> None:
    """Every coefficient of 100 x 90 has a variance; the lowest are their own."""
    shape = (1, 100, 90)
    spectrum = Spectrum.empty(Knots((1, 500, 1000)), shape, no_rotation(1))
    draw = torch.Generator().manual_seed(0)
    c_sq = torch.randn(2, *shape, generator=draw, dtype=torch.float64).square()
    for knot in range(3):
        spectrum.add(knot, c_sq)
    spectral = registry.load("spectral")(Ingredients.of(LINEAR, DataDescription(*shape), spectrum))
    found = spectral.unbounded(anywhere(LINEAR, 500)).var
    assert found.shape == shape
    expected = float(LINEAR.ratio[500]) * c_sq.mean(0)
    torch.testing.assert_close(found[:, :32, :32], expected[:, :32, :32], rtol=1e-9, atol=0)
    assert float(found.mean()) == pytest.approx(float(expected.mean()), rel=1e-9)


# --- samples


@pytest.mark.parametrize("K", [1, 5, 10])
@pytest.mark.parametrize("schedule", [LINEAR, COSINE], ids=str)
@pytest.mark.parametrize("solver", SOLVERS, ids=str)
def test_samples_have_the_data_s_variance_in_every_coefficient(solver: Solver, schedule: NoiseSchedule, K: int) -> None:
    """The last step noised as well. With the visited times as knots exactly, else to the error of interpolation."""
    world, grid = cosine_world(schedule), even(1000, K)
    truth = world.matrix.T @ (world.var.flatten()[:, None] * world.matrix)
    found = output_covariance(world, solver, build("spectral", world, grid.times), grid)
    torch.testing.assert_close(found, truth, rtol=0, atol=EXACT if schedule is LINEAR else 1e-6)
    knots = Knots.spread(schedule, 32).times
    nearly = diagonal_of(world, output_covariance(world, solver, build("spectral", world, knots), grid))
    torch.testing.assert_close(nearly, world.var, rtol=KNOT_ERROR[schedule.name], atol=0)


@pytest.mark.parametrize("solver", [DDPM(), DDIM()], ids=["ddpm", "ddim"])
def test_the_scalar_of_the_same_total_does_not(solver: Solver) -> None:
    """So the test above is not passed by whatever has the right variance on average."""
    world = cosine_world(LINEAR)
    found = (
        diagonal_of(world, output_covariance(world, solver, build("corrected", world, (1, 1000)), even(1000, 5)))
        / world.var
    )
    assert float(found.min()) < 0.6
    assert float(found.max()) > 20


COUNT = 1500
FLOAT32 = 1e-9
"""Absolute, of a variance: at t = T float32 errs by 1e-7 in eps_hat, and 157 times that in x0_hat."""


@pytest.mark.parametrize("K", [1, 5, 10])
@pytest.mark.parametrize("solver", [DDPM(), DDIM()], ids=["ddpm", "ddim"])
def test_the_sampler_itself(solver: Solver, K: int) -> None:
    """Drawn images, from N(0, I) and without noise in the last step: what the recursion of covariances says of them,
    and at more than one step that is the data but for Cov[x_0 | x_1]."""
    world, grid = cosine_world(LINEAR), even(1000, K)
    spectral = build("spectral", world, Knots.spread(LINEAR, 32).times)
    white = torch.eye(24, dtype=torch.float64)
    expected = diagonal_of(world, output_covariance(world, solver, spectral, grid, start=white, last_noise=False))
    chosen = Sampler(perfect_model(world, DATA), spectral, solver, grid, cap_levels=None)
    found = sample(chosen, ImageNoise(1, range(COUNT), SHAPE)).double()
    var = world.basis.forward(found).square().mean(0)
    assert ((var - expected).abs() < 4.5 * math.sqrt(2 / COUNT) * expected + FLOAT32).all(), "24 numbers"
    if K > 1:
        assert float((var / expected).mean()) == pytest.approx(1, abs=4 * math.sqrt(2 / (COUNT * 24)))
        torch.testing.assert_close(expected, world.var - world.cov_x0(1), rtol=0.01, atol=0)


# --- likelihood


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("schedule", [LINEAR, COSINE], ids=str)
def test_the_bound_misses_the_entropy_by_the_prior_alone(schedule: NoiseSchedule, name: str) -> None:
    """Whatever the grid: the exact steps' terms telescope. The visited times are the knots."""
    world = cosine_world(schedule)
    for K in (1, 2, 10, 60):
        grid = GRIDS[name](schedule, K)
        spectral = build("spectral", world, grid.times)
        expected = world.entropy() + world.far_end(grid.times[-1])
        assert expected_bound(world, spectral, grid) == pytest.approx(expected, abs=1e-6), K


@pytest.mark.parametrize("schedule", [LINEAR, COSINE], ids=str)
def test_32_knots_cost_next_to_nothing(schedule: NoiseSchedule) -> None:
    """An error of a variance costs its square: below 1e-5 nats a step and value."""
    world, grid = cosine_world(schedule), even(1000, 20)
    exact, nearly = (
        expected_bound(world, build("spectral", world, times), grid)
        for times in (grid.times, Knots.spread(schedule, 32).times)
    )
    assert 0 < nearly - exact < 20 * 24 * 1e-5


def test_in_correlated_pixels_it_lies_between_the_scalar_and_the_whole() -> None:
    """Each gap in closed form: the cosines' variances against all of the matrix (Hadamard), and against their mean."""
    world, grid = world_of(correlated(SHAPE), SHAPE, LINEAR), even(1000, 10)
    basis = cosine(*SHAPE)
    U = basis.forward(torch.eye(24, dtype=torch.float64).reshape(-1, *SHAPE)).flatten(1).T
    V = world.matrix
    bounds = {n: expected_bound(world, build(n, world, grid.times), grid) for n in ("corrected", "spectral")}
    expected = {"corrected": 0.0, "spectral": 0.0, "exact": 0.0}
    for s, t in [(s, t) for s, t in grid.pairs() if s > 0]:
        truth = V.T @ (world.cov_x0(t).flatten()[:, None] * V)
        var = (U @ truth @ U.T).diagonal()
        models = {
            "corrected": truth.trace() / 24 * torch.eye(24, dtype=torch.float64),
            "spectral": U.T @ (var[:, None] * U),
            "exact": truth,
        }
        for name, model in models.items():
            expected[name] += expected_transition(world, model, s, t)
    floor = world.entropy() + world.far_end(1000)
    for name, found in bounds.items():
        assert found == pytest.approx(floor + expected[name] - expected["exact"], abs=1e-6), name
    assert floor + 1 < bounds["spectral"] < bounds["corrected"] - 0.5
