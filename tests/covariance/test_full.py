"""``full`` in a world of correlated pixels: exact where nothing diagonal is, and best of the tables there."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from diffcov.basis import Dense
from diffcov.covariance import registry
from diffcov.covariance.base import Covariance, Fitted
from diffcov.data import DataDescription
from diffcov.denoiser.prediction import Prediction
from diffcov.diffusion.grid import TRAJECTORIES, even
from diffcov.diffusion.process import DDIM, DDPM, Process
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.sampling import Sampler, sample
from diffcov.engines.sweep import estimate, estimate_residuals
from diffcov.nets.features import Features
from diffcov.noise import ImageNoise
from diffcov.statistics.knots import Knots
from oracles.correlated import correlated, world_of
from oracles.diagonal import DiagonalWorld
from oracles.measured import told_matrices
from oracles.trunks import perfect_model
from oracles.typical import expected_bound, output_covariance

SHAPE, D = (2, 3, 4), 24
DATA = DataDescription(*SHAPE)
LINEAR, COSINE = NoiseSchedule.linear(1000), NoiseSchedule.cosine(1000)
PROCESSES: list[Process] = [DDPM(), DDIM(), DDIM(0.5)]
FLOAT32 = 1e-5
"""Absolute, for covariances of order 1: sums of products are kept in single precision."""


def world(schedule: NoiseSchedule = LINEAR) -> DiagonalWorld:
    return world_of(correlated(SHAPE), SHAPE, schedule)


def full(of: DiagonalWorld, times: tuple[int, ...]) -> Covariance:
    return registry.load("full").build(Fitted(matrices=of.matrices(times)))


def nothing() -> Prediction:
    image = torch.zeros(1, *SHAPE, dtype=torch.float64)
    return Prediction(image, Features(image, image))


def matrix_of(covariance: Covariance, schedule: NoiseSchedule, t: int) -> Tensor:
    """Cov[x_0 | x_t] as it is used, over pixels."""
    eye = torch.eye(D, dtype=torch.float64).reshape(-1, *SHAPE)
    U = covariance.basis_at(schedule, t).forward(eye).flatten(1).T
    return U.T @ (covariance.var_x0(schedule, t, nothing()).flatten()[:, None] * U)


# --- var_x0


@pytest.mark.parametrize("schedule", [LINEAR, COSINE], ids=str)
def test_it_is_the_covariance_of_x0_between_all_pixels(schedule: NoiseSchedule) -> None:
    truth = world(schedule)
    times = (1, 77, 500, 1000)
    found = full(truth, times)
    for t in times:
        expected = float(schedule.ratio[t]) * truth.cov_eps(t)
        torch.testing.assert_close(matrix_of(found, schedule, t), expected, rtol=0, atol=FLOAT32)
        assert isinstance(found.basis_at(schedule, t), Dense)


def test_the_basis_belongs_to_its_time() -> None:
    """One pair of neighbours moves together early, another late: neither time may answer with the other's vectors."""
    early, late = (torch.eye(D, dtype=torch.float64) * 0.3 for _ in range(2))
    early[0, 1] = early[1, 0] = 0.29
    late[4, 5] = late[5, 4] = -0.28
    told = told_matrices([10, 900], lambda t: early if t == 10 else late, SHAPE)
    found = registry.load("full").build(Fitted(matrices=told))
    for t, truth in ((900, late), (10, early), (900, late)):
        expected = float(LINEAR.ratio[t]) * truth
        torch.testing.assert_close(matrix_of(found, LINEAR, t), expected, rtol=1e-5, atol=1e-5 * float(expected.max()))


# --- samples


@pytest.mark.parametrize("K", [1, 5, 10])
@pytest.mark.parametrize("schedule", [LINEAR, COSINE], ids=str)
@pytest.mark.parametrize("process", PROCESSES, ids=str)
def test_samples_have_the_data_s_covariance_between_all_pixels(
    process: Process, schedule: NoiseSchedule, K: int
) -> None:
    """The last step noised as well; with the visited times as knots, and with 32 spread ones."""
    truth, trajectory = world(schedule), even(1000, K)
    expected = correlated(SHAPE)
    found = output_covariance(truth, process, full(truth, trajectory.times), trajectory)
    torch.testing.assert_close(found, expected, rtol=0, atol=FLOAT32)
    nearly = output_covariance(truth, process, full(truth, Knots.spread(schedule, 32).times), trajectory)
    torch.testing.assert_close(nearly, expected, rtol=0, atol=0.02)
    table = registry.load("corrected").build(Fitted(truth.table()))
    if K > 1:
        scalar = output_covariance(truth, process, table, trajectory)
        assert float((scalar - expected).abs().max()) > 0.05, "one number does not"


COUNT = 4000


@pytest.mark.parametrize("K", [1, 5])
@pytest.mark.parametrize("process", [DDPM(), DDIM()], ids=["ddpm", "ddim"])
def test_the_sampler_itself(process: Process, K: int) -> None:
    """Every pair of pixels within five standard errors of what the recursion says: sqrt((v_i v_j + v_ij^2) / n)."""
    truth, trajectory = world(), even(1000, K)
    covariance = full(truth, Knots.spread(LINEAR, 32).times)
    white = torch.eye(D, dtype=torch.float64)
    expected = output_covariance(truth, process, covariance, trajectory, start=white, last_noise=False)
    chosen = Sampler(covariance, process, trajectory, cap_levels=None, clip_x0=False)
    x = sample(perfect_model(truth, DATA), chosen, ImageNoise(1, range(COUNT), SHAPE)).double().flatten(1)
    v = expected.diagonal()
    stderr = ((v[:, None] * v + expected.square()) / COUNT).sqrt()
    assert float(((x.T @ x / COUNT - expected) / stderr).abs().max()) < 5
    if K > 1:
        torch.testing.assert_close(expected, correlated(SHAPE), rtol=0, atol=0.01)


# --- likelihood


@pytest.mark.parametrize("name", TRAJECTORIES)
@pytest.mark.parametrize("schedule", [LINEAR, COSINE], ids=str)
def test_the_bound_misses_the_entropy_by_the_prior_alone(schedule: NoiseSchedule, name: str) -> None:
    """Whatever the trajectory: the exact steps' terms telescope; float32 of the moments costs its square."""
    truth = world(schedule)
    for K in (1, 2, 10, 30):
        trajectory = TRAJECTORIES[name](1000, K)
        expected = truth.entropy() + truth.far_end(trajectory.times[-1])
        found = expected_bound(truth, full(truth, trajectory.times), trajectory)
        assert found == pytest.approx(expected, abs=1e-6), K


@pytest.mark.parametrize("K", [2, 5, 10, 50])
@pytest.mark.parametrize("schedule", [LINEAR, COSINE], ids=str)
def test_the_more_it_knows_the_better_its_bound(schedule: NoiseSchedule, K: int) -> None:
    """full < spectral < corrected < small, the less the steps; knots as the program spreads them."""
    truth, trajectory = world(schedule), even(1000, K)
    knots = Knots.spread(schedule, 32).times
    fitted = Fitted(truth.table(), truth.spectrum(knots), truth.matrices(knots))
    names = ("full", "spectral", "corrected", "small")
    bounds = [expected_bound(truth, registry.load(name).build(fitted), trajectory) for name in names]
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
    model, knots, trajectory = perfect_model(truth, WIDE), Knots.spread(LINEAR, 16), even(1000, 6)
    residuals = estimate_residuals(model, pictures, knots, 2000, matrices=True, clip_x0=False)
    table = estimate(model, pictures, trajectory.times, 200)
    measured = Fitted(table, residuals.spectrum, residuals.matrices)
    colour = residuals.spectrum.colour  # the images' own, which this world's channels need
    exact = Fitted(truth.table(), truth.spectrum(knots.times, colour), truth.matrices(knots.times))
    found, known = (
        {
            name: expected_bound(truth, registry.load(name).build(fitted), trajectory)
            for name in ("full", "spectral", "corrected")
        }
        for fitted in (measured, exact)
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
    truth, trajectory = world(), even(1000, 6)
    pictures = DataDescription(*SHAPE, low=-4.0, high=4.0)
    images = pictures.decode(truth.sample(60, torch.Generator().manual_seed(5)))
    found = estimate_residuals(
        perfect_model(truth, pictures), images, Knots.spread(LINEAR, 16), 60, matrices=True, clip_x0=False
    )
    fitted = Fitted(None, found.spectrum, found.matrices)
    bounds = {
        name: expected_bound(truth, registry.load(name).build(fitted), trajectory) for name in ("full", "spectral")
    }
    assert bounds["full"] < bounds["spectral"]
    assert math.isfinite(bounds["full"])
