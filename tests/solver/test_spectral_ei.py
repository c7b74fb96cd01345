"""The spectrum as a solver: exact in one look for data that are Gaussian in its basis."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from diffcov.basis import cosine
from diffcov.diffusion.grid import explicit
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import InputError
from diffcov.solver.addim import ADDIM
from diffcov.solver.base import Solver
from diffcov.solver.ddim import DDIM
from diffcov.solver.registry import make_solver
from diffcov.solver.spectral_ei import SpectralEI
from diffcov.statistics.spectrum import Spectrum
from diffcov.statistics.table import VarianceTable
from oracles.diagonal import DiagonalWorld
from oracles.measured import no_rotation, told_look, told_spectrum

SHAPE = (1, 4, 4)
SCHEDULES = {"linear": NoiseSchedule.linear(1000), "cosine": NoiseSchedule.cosine(1000)}


def world(schedule: NoiseSchedule) -> DiagonalWorld:
    """Variances of cosines from 4 down to 1e-3."""
    var = torch.logspace(math.log10(4), -3, 16, dtype=torch.float64).reshape(SHAPE)
    return DiagonalWorld(schedule, var, cosine(*SHAPE, no_rotation(1)))


def known(truth: DiagonalWorld) -> SpectralEI:
    return SpectralEI().given({"spectrum": spectrum(truth)})


def spectrum(truth: DiagonalWorld) -> Spectrum:
    return told_spectrum(range(1, 1001), truth.var_eps, SHAPE)


def one_step(truth: DiagonalWorld, solver: Solver, s: int, t: int) -> tuple[Tensor, Tensor]:
    """x_s of one step from draws of q(x_t), and where the flow takes them: standardised coefficients stand still."""
    draws = torch.randn(6, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    abar, bbar = truth.schedule.alpha_bar, truth.schedule.beta_bar
    at = {k: truth.basis.inverse((abar[k] * truth.var + bbar[k]).sqrt() * draws) for k in (s, t)}
    grid = explicit(1000, (s, t))
    steps = solver.steps(truth.schedule, grid)
    return solver.walk(steps).mean(steps[0], truth.look(at[t], t)), at[s]


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(("s", "t"), [(1, 990), (5, 500), (400, 990), (700, 710), (20, 30), (1, 2)])
def test_one_look_is_exact_for_gaussian_data(name: str, s: int, t: int) -> None:
    """From q(x_t) to any s, where DDIM is far off."""
    truth = world(SCHEDULES[name])
    found, exact = one_step(truth, known(truth), s, t)
    off = float((found - exact).norm() / exact.norm())
    assert off < 2e-3
    ddim, _ = one_step(truth, DDIM(), s, t)
    assert off < 0.05 * float((ddim - exact).norm() / exact.norm())


@pytest.mark.parametrize("order", [1, 2])
def test_a_spectrum_of_nothing_is_ddim(order: int) -> None:
    """v = 0: order 1 is DDIM, and order 2 is Adams and Bashforth's in log sigma, which is deis."""
    truth = world(SCHEDULES["linear"])
    nothing = told_spectrum(range(1, 1001), lambda t: torch.full(SHAPE, 1e-30, dtype=torch.float64), SHAPE)
    mine = make_solver("spectral-ei", order=order).given({"spectrum": nothing})
    peer = make_solver("deis", order=order)
    grid = explicit(1000, (10, 200, 500, 900))
    x = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    walks = [solver.walk(solver.steps(truth.schedule, grid)) for solver in (mine, peer)]
    for step in mine.steps(truth.schedule, grid):
        look = truth.look(x, step.t)
        means = [walk.mean(step, look) for walk in walks]
        torch.testing.assert_close(means[0], means[1], rtol=0, atol=1e-10)
        x = means[0]


def test_where_eps_hat_moves_as_the_spectrum_says_there_is_no_trend() -> None:
    """On the flow of Gaussian data order 2 adds nothing to order 1."""
    truth = world(SCHEDULES["linear"])
    grid, x = explicit(1000, (10, 200, 500, 900)), torch.ones(1, *SHAPE, dtype=torch.float64)
    x = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    base, more = (make_solver("spectral-ei", order=order).given({"spectrum": spectrum(truth)}) for order in (1, 2))
    walks = [solver.walk(solver.steps(truth.schedule, grid)) for solver in (base, more)]
    for step in base.steps(truth.schedule, grid):
        look = truth.look(x, step.t)
        means = [walk.mean(step, look) for walk in walks]
        torch.testing.assert_close(means[0], means[1], rtol=0, atol=2e-3 * float(x.abs().max()))
        x = means[0]


def test_it_steps_from_where_nothing_is_left_as_ddim() -> None:
    schedule = NoiseSchedule.from_betas([0.1, 0.2, 0.5, 1.0])
    found = told_spectrum([1, 2, 3, 4], lambda t: torch.full(SHAPE, 0.5, dtype=torch.float64), SHAPE)
    solver = SpectralEI().given({"spectrum": found})
    steps = solver.steps(schedule, explicit(4, (1, 2, 4)))
    walk, ddim = solver.walk(steps), DDIM()
    x = torch.ones(1, *SHAPE, dtype=torch.float64)
    look = told_look(schedule, x, 4, 0.9 * x)
    torch.testing.assert_close(walk.mean(steps[0], look), ddim.mean(steps[0], look))
    assert torch.isfinite(walk.mean(steps[1], told_look(schedule, x, 2, 0.9 * x))).all()


def test_it_needs_a_spectrum_and_says_which_in_its_identity() -> None:
    truth = world(SCHEDULES["linear"])
    with pytest.raises(InputError, match=r"^spectral-ei needs the spectrum and was given none"):
        SpectralEI().walk([])
    given = known(truth)
    assert given.as_dict()["made_of"] == {"spectrum.safetensors": spectrum(truth).digest}
    assert given.label == "spectral-ei"


def test_addim_grows_the_norm_by_the_uncertainty() -> None:
    """E||x_s||^2 along eps_hat is direction^2 ||eps_hat||^2 + gamma^2 mse var_x0 d."""
    schedule = SCHEDULES["linear"]
    ones = torch.ones(1001, dtype=torch.float64)
    table = VarianceTable(ones, ones, ones, 0.3 * ones, 0.09 * ones)
    solver = ADDIM(mse=0.5).given({"table": table})
    x = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    look = told_look(schedule, x, 700, 0.8 * x)
    steps = solver.steps(schedule, explicit(1000, (300, 700)))
    grown = solver.walk(steps).mean(steps[0], look) - math.sqrt(steps[0].alpha_bar_s) * look.x0_hat
    wanted = steps[0].direction ** 2 * look.eps_hat.square().flatten(1).sum(1)
    wanted = wanted + steps[0].gamma ** 2 * 0.5 * float(schedule.ratio[700]) * 0.3 * 16
    torch.testing.assert_close(grown.square().flatten(1).sum(1), wanted)
    with pytest.raises(InputError, match=r"^addim needs the table and was given none"):
        ADDIM().walk([])
