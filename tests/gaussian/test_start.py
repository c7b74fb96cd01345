"""A start below T: exactly q(x_t) of Gaussian images, where the flow takes the same noise; one look gives the data."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from diffcov.basis import cosine
from diffcov.diffusion.grid import explicit
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.gaussian.start import GaussianStart
from diffcov.solver.ddim import DDIM
from diffcov.solver.registry import make_solver
from diffcov.statistics.spectrum import Spectrum
from oracles.diagonal import DiagonalWorld
from oracles.measured import told_spectrum

SHAPE = (3, 4, 4)
BASIS = cosine(*SHAPE)
VAR = torch.logspace(math.log10(4), -3, 48, dtype=torch.float64).reshape(SHAPE)
WORLD = DiagonalWorld(NoiseSchedule.linear(1000), VAR, BASIS)
MEAN = torch.linspace(-0.5, 0.7, 48, dtype=torch.float64).reshape(SHAPE)


def start(mean: Tensor = MEAN) -> GaussianStart:
    return GaussianStart(BASIS, mean, VAR, {"image-gaussian.safetensors": "5" * 64})


def white(count: int = 1) -> Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def spectrum() -> Spectrum:
    return told_spectrum(range(1, 1001), WORLD.var_eps, SHAPE, BASIS.colour)


@pytest.mark.parametrize("t", [1, 300, 600, 1000])
def test_it_is_the_marginal_of_gaussian_images(t: int) -> None:
    """Affine in the noise: the image of nothing is the mean, that of each basis vector its standard deviation."""
    abar, bbar = float(WORLD.schedule.alpha_bar[t]), float(WORLD.schedule.beta_bar[t])
    nothing = start().draw(WORLD.schedule, t, torch.zeros(1, *SHAPE, dtype=torch.float64))[0]
    torch.testing.assert_close(nothing, math.sqrt(abar) * MEAN)
    units = torch.eye(48, dtype=torch.float64).reshape(48, *SHAPE)
    factor = (start().draw(WORLD.schedule, t, units) - nothing).flatten(1).T
    U = BASIS.forward(units).flatten(1).T
    covariance = U.T @ ((abar * VAR + bbar).flatten()[:, None] * U)
    torch.testing.assert_close(factor @ factor.T, covariance)


def test_it_is_where_the_flow_takes_the_same_noise() -> None:
    """A thousand steps of DDIM from T come to the same images."""
    noise, grid = white(2), explicit(1000, tuple(range(400, 1001)))
    centred = start(torch.zeros(SHAPE, dtype=torch.float64))
    x = centred.draw(WORLD.schedule, 1000, noise)
    solver = DDIM()
    steps = solver.steps(WORLD.schedule, grid)[:-1]
    walk = solver.walk(steps)
    for step in steps:
        x = walk.mean(step, WORLD.look(x, step.t))
    exact = centred.draw(WORLD.schedule, 400, noise)
    assert float((x - exact).norm() / exact.norm()) < 5e-3


def test_with_the_spectral_integrator_one_look_gives_the_data() -> None:
    """From t = 600 to t = 1, and what is left of the noise there."""
    centred, noise = start(torch.zeros(SHAPE, dtype=torch.float64)), white(4)
    x = centred.draw(WORLD.schedule, 600, noise)
    solver = make_solver("spectral-ei", order=1).given({"spectrum": spectrum()})
    steps = solver.steps(WORLD.schedule, explicit(1000, (1, 600)))
    found = solver.walk(steps).mean(steps[0], WORLD.look(x, 600))
    exact = centred.draw(WORLD.schedule, 1, noise)
    assert float((found - exact).norm() / exact.norm()) < 2e-3


def test_at_noise_alone_it_is_noise() -> None:
    schedule = NoiseSchedule.from_betas([0.1, 0.5, 1.0])
    torch.testing.assert_close(start().draw(schedule, 3, white()), white())


def test_it_keeps_the_type_of_the_noise() -> None:
    assert start().draw(WORLD.schedule, 500, white().float()).dtype == torch.float32


def test_its_identity_names_what_it_was_made_of() -> None:
    assert start().as_dict() == {"name": "gaussian", "made_of": {"image-gaussian.safetensors": "5" * 64}}
