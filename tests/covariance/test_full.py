"""``full`` in a world of correlated pixels: exact where nothing diagonal is, and best of the tables there."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from diffcov.basis import Dense
from diffcov.covariance import registry
from diffcov.covariance.base import Covariance
from diffcov.covariance.ingredients import Ingredients
from diffcov.data import DataDescription, Examples
from diffcov.diffusion.grids import GRIDS, even
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.sampler import Sampler
from diffcov.engines.sampling import sample
from diffcov.engines.sweep import estimate
from diffcov.noise import ImageNoise
from diffcov.solver.base import Solver
from diffcov.solver.ddim import DDIM
from diffcov.solver.ddpm import DDPM
from diffcov.statistics.knots import Knots
from diffcov.statistics.matrices import ResidualMatrices
from diffcov.statistics.spectrum import Spectrum
from diffcov.statistics.table import VarianceTable
from oracles.correlated import correlated, world_of
from oracles.diagonal import DiagonalWorld
from oracles.measured import told_look, told_matrices
from oracles.trunks import perfect_model
from oracles.typical import expected_bound, output_covariance

SHAPE, D = (2, 3, 4), 24
DATA = DataDescription(*SHAPE)
LINEAR, COSINE = NoiseSchedule.linear(1000), NoiseSchedule.cosine(1000)
SOLVERS: list[Solver] = [DDPM(), DDIM(), DDIM(0.5)]
FLOAT32 = 1e-5
"""Absolute, for covariances of order 1: sums of products are kept in single precision."""


def world(schedule: NoiseSchedule = LINEAR) -> DiagonalWorld:
    return world_of(correlated(SHAPE), SHAPE, schedule)


def build(name: str, of: DiagonalWorld, *parts: object, data: DataDescription = DATA) -> Covariance:
    return registry.load(name)(Ingredients.of(of.schedule, data, *parts))


def full(of: DiagonalWorld, times: tuple[int, ...]) -> Covariance:
    return build("full", of, of.matrices(times))


def matrix_of(covariance: Covariance, t: int) -> Tensor:
    """Cov[x_0 | x_t] before any clip, over pixels."""
    nothing = torch.zeros(1, *SHAPE, dtype=torch.float64)
    found = covariance.unbounded(told_look(covariance.schedule, nothing, t, nothing))
    assert isinstance(found.basis, Dense)
    U = found.basis.forward(torch.eye(D, dtype=torch.float64).reshape(-1, *SHAPE)).flatten(1).T
    return U.T @ (found.var.flatten()[:, None] * U)


# --- var_x0


@pytest.mark.parametrize("schedule", [LINEAR, COSINE], ids=str)
def test_it_is_the_covariance_of_x0_between_all_pixels(schedule: NoiseSchedule) -> None:
    truth = world(schedule)
    times = (1, 77, 500, 1000)
    found = full(truth, times)
    for t in times:
        expected = float(schedule.ratio[t]) * truth.cov_eps(t)
        torch.testing.assert_close(matrix_of(found, t), expected, rtol=0, atol=FLOAT32)


def test_the_basis_belongs_to_its_time() -> None:
    """One pair of neighbours moves together early, another late: neither time may answer with the other's vectors."""
    early, late = (torch.eye(D, dtype=torch.float64) * 0.3 for _ in range(2))
    early[0, 1] = early[1, 0] = 0.29
    late[4, 5] = late[5, 4] = -0.28
    told = told_matrices([10, 900], lambda t: early if t == 10 else late, SHAPE)
    found = build("full", world(), told)
    for t, truth in ((900, late), (10, early), (900, late)):
        expected = float(LINEAR.ratio[t]) * truth
        torch.testing.assert_close(matrix_of(found, t), expected, rtol=1e-5, atol=1e-5 * float(expected.max()))


# --- samples


@pytest.mark.parametrize("K", [1, 5, 10])
@pytest.mark.parametrize("schedule", [LINEAR, COSINE], ids=str)
@pytest.mark.parametrize("solver", SOLVERS, ids=str)
def test_samples_have_the_data_s_covariance_between_all_pixels(solver: Solver, schedule: NoiseSchedule, K: int) -> None:
    """The last step noised as well; with the visited times as knots, and with 32 spread ones."""
    truth, grid = world(schedule), even(1000, K)
    expected = correlated(SHAPE)
    found = output_covariance(truth, solver, full(truth, grid.times), grid)
    torch.testing.assert_close(found, expected, rtol=0, atol=FLOAT32)
    nearly = output_covariance(truth, solver, full(truth, Knots.spread(schedule, 32).times), grid)
    torch.testing.assert_close(nearly, expected, rtol=0, atol=0.02)
    if K > 1:
        scalar = output_covariance(truth, solver, build("corrected", truth, truth.table()), grid)
        assert float((scalar - expected).abs().max()) > 0.05, "one number does not"


COUNT = 4000


@pytest.mark.parametrize("K", [1, 5])
@pytest.mark.parametrize("solver", [DDPM(), DDIM()], ids=["ddpm", "ddim"])
def test_the_sampler_itself(solver: Solver, K: int) -> None:
    """Every pair of pixels within five standard errors of what the recursion says: sqrt((v_i v_j + v_ij^2) / n)."""
    truth, grid = world(), even(1000, K)
    covariance = full(truth, Knots.spread(LINEAR, 32).times)
    white = torch.eye(D, dtype=torch.float64)
    expected = output_covariance(truth, solver, covariance, grid, start=white, last_noise=False)
    chosen = Sampler(perfect_model(truth, DATA), covariance, solver, grid, cap_levels=None)
    x = sample(chosen, ImageNoise(1, range(COUNT), SHAPE)).double().flatten(1)
    v = expected.diagonal()
    stderr = ((v[:, None] * v + expected.square()) / COUNT).sqrt()
    assert float(((x.T @ x / COUNT - expected) / stderr).abs().max()) < 5
    if K > 1:
        torch.testing.assert_close(expected, correlated(SHAPE), rtol=0, atol=0.01)


# --- likelihood


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("schedule", [LINEAR, COSINE], ids=str)
def test_the_bound_misses_the_entropy_by_the_prior_alone(schedule: NoiseSchedule, name: str) -> None:
    """Whatever the grid: the exact steps' terms telescope; float32 of the moments costs its square."""
    truth = world(schedule)
    for K in (1, 2, 10, 30):
        grid = GRIDS[name](schedule, K)
        expected = truth.entropy() + truth.far_end(grid.times[-1])
        found = expected_bound(truth, full(truth, grid.times), grid)
        assert found == pytest.approx(expected, abs=1e-6), K


@pytest.mark.parametrize("K", [2, 5, 10, 50])
@pytest.mark.parametrize("schedule", [LINEAR, COSINE], ids=str)
def test_the_more_it_knows_the_better_its_bound(schedule: NoiseSchedule, K: int) -> None:
    """full < spectral < corrected < small, the less the steps; knots as the program spreads them."""
    truth, grid = world(schedule), even(1000, K)
    knots = Knots.spread(schedule, 32).times
    exact = (truth.table(), truth.spectrum(knots), truth.matrices(knots))
    names = ("full", "spectral", "corrected", "small")
    bounds = [expected_bound(truth, build(name, truth, *exact), grid) for name in names]
    floor = truth.entropy() + truth.far_end(1000)
    assert floor - 1e-6 < bounds[0] < floor + 1e-4 * D * K, "and full is all there is to know"
    gaps = [later - earlier for earlier, later in pairwise(bounds)]
    assert all(gap > 0.05 for gap in gaps), gaps


WIDE = DataDescription(*SHAPE, low=-4.0, high=4.0)


def test_measured_on_images_it_is_nearly_as_good() -> None:
    """From 2000 images and a perfect network: most of what the exact matrices gain over the exact spectrum."""
    bare = correlated(SHAPE)
    truth = world_of(bare + WIDE.level_width**2 / 12 * torch.eye(D, dtype=torch.float64), SHAPE, LINEAR)
    pictures = WIDE.decode(world_of(bare, SHAPE, LINEAR).sample(2000, torch.Generator().manual_seed(5)))
    model, examples = perfect_model(truth, WIDE), Examples(pictures)
    knots, grid = Knots.spread(LINEAR, 16).times, even(1000, 6)
    residuals = estimate(model, examples, [Spectrum, ResidualMatrices], knots, 2000, clip=False)
    table = estimate(model, examples, [VarianceTable], grid.times, 200)
    measured = (*residuals.values(), *table.values())
    colour = residuals[Spectrum].colour  # the images' own, which this world's channels need
    exact = (truth.table(), truth.spectrum(knots, colour), truth.matrices(knots))
    found, known = (
        {
            name: expected_bound(truth, build(name, truth, *parts, data=WIDE), grid)
            for name in ("full", "spectral", "corrected")
        }
        for parts in (measured, exact)
    )
    assert found["full"] < found["spectral"] < found["corrected"]
    for name in found:
        assert found[name] >= known[name] - 0.05, "estimates are not better than what they estimate"
    gain = known["spectral"] - known["full"]
    assert gain > 1
    assert found["full"] - known["full"] < 0.25 * gain
    assert found["spectral"] - known["spectral"] < 0.05 * gain


def test_few_images_do_not_ruin_it() -> None:
    """60 images of 24 values: unshrunk, 60 would be dear; shrunk, it still is no worse than the spectrum."""
    truth, grid = world(), even(1000, 6)
    examples = Examples(WIDE.decode(truth.sample(60, torch.Generator().manual_seed(5))))
    knots = Knots.spread(LINEAR, 16).times
    found = estimate(perfect_model(truth, WIDE), examples, [Spectrum, ResidualMatrices], knots, 60, clip=False)
    bounds = {
        name: expected_bound(truth, build(name, truth, *found.values(), data=WIDE), grid)
        for name in ("full", "spectral")
    }
    assert bounds["full"] < bounds["spectral"]
    assert math.isfinite(bounds["full"])
