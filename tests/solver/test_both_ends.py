"""The two ends of a walk: a look at noise alone (alpha_bar_T = 0), and the step to the data, for every solver."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from diffcov.denoiser.look import Look
from diffcov.diffusion.grid import explicit
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import UsageError
from diffcov.nets.features import Features
from diffcov.solver.addim import ADDIM
from diffcov.solver.base import Solver
from diffcov.solver.multistep import Multistep
from diffcov.solver.quadrature import gauss_legendre
from diffcov.solver.registry import SOLVERS, load, make_solver
from diffcov.statistics.table import VarianceTable
from oracles.measured import told_look, told_matrices, told_spectrum

SHAPE = (1, 2, 2)
ZERO = NoiseSchedule.from_betas([*torch.linspace(1e-3, 0.2, 49, dtype=torch.float64).tolist(), 1.0])
"""T = 50, and nothing of the image is left at the end."""
GRID = explicit(50, (5, 15, 30, 40, 50))
MULTISTEP = [(name, order) for name in SOLVERS if issubclass(load(name), Multistep) for order in load(name).orders]


def images(seed: int) -> Tensor:
    return torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def known(name: str, **chosen: object) -> Solver:
    """A solver, with statistics that say the same at every time."""
    ones = torch.ones(51, dtype=torch.float64)
    table = VarianceTable(ones, ones, ones, 0.3 * ones, 0.09 * ones)
    spectrum = told_spectrum(range(1, 51), lambda t: torch.full(SHAPE, 0.4, dtype=torch.float64), SHAPE)
    matrices = told_matrices(range(1, 51), lambda t: 0.4 * torch.eye(4, dtype=torch.float64), SHAPE)
    return make_solver(name, **chosen).given({"table": table, "spectrum": spectrum, "matrices": matrices})


def look_at_noise(x_T: Tensor, x0_hat: Tensor) -> Look:
    """x_T is the noise, and x0_hat is whatever the network says."""
    return Look(x_T, 50, x0_hat, x_T, x0_hat, Features(x_T, x_T), None)


def means(solver: Solver, first: Tensor) -> list[Tensor]:
    """Of a walk from noise alone, along looks that are given; ``first`` is x0_hat there."""
    steps = solver.steps(ZERO, GRID)
    walk, found = solver.walk(steps), []
    for step in steps:
        x = images(step.t)
        look = look_at_noise(x, first) if step.t == 50 else told_look(ZERO, x, step.t, images(step.t + 100))
        found.append(walk.mean(step, look))
    return found


@pytest.mark.parametrize("name", SOLVERS)
def test_the_last_step_ends_at_x0_hat(name: str) -> None:
    """Whatever was seen before and however noise is spread over the walk; with one step too."""
    for order in getattr(load(name), "orders", (None,)):
        solver = known(name, order=order)
        found = means(solver, images(0))
        last = told_look(ZERO, images(5), 5, images(105))
        torch.testing.assert_close(found[-1], last.x0_hat, rtol=1e-12, atol=1e-12)
        for t in (50, 5):
            steps = solver.steps(ZERO, explicit(50, (t,)))
            look = last if t == 5 else look_at_noise(images(1), images(2))
            torch.testing.assert_close(solver.walk(steps).mean(steps[0], look), look.x0_hat, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("name", "order"), MULTISTEP)
def test_noise_alone_says_nothing_of_a_trend(name: str, order: int) -> None:
    """Of its first step a solver of any order makes DDIM's or DDPM's; later steps ask other looks for their trend.

    ``ipndm`` counts steps and takes each for as long as any other, so that it alone goes on from there.
    """
    solver, first = known(name, order=order), known(name, order=1)
    found, plain = means(solver, images(0)), means(first, images(0))
    assert all(bool(torch.isfinite(mean).all()) for mean in found)
    step = solver.steps(ZERO, GRID)[0]
    written = step.mean_from_x_t(images(0), images(50))
    torch.testing.assert_close(found[0], written, rtol=1e-12, atol=1e-12)
    if name == "ipndm":
        return
    torch.testing.assert_close(found[1], plain[1], rtol=1e-9, atol=1e-9)
    other = means(solver, images(0) + 7.0)
    for number in (2, 3, 4):
        torch.testing.assert_close(found[number], other[number], rtol=1e-9, atol=1e-9)
    if order > 1:
        assert float((found[2] - plain[2]).abs().max()) > 1e-3, "and from two other looks there is one"


def test_er_sde_forgets_noise_alone() -> None:
    """phi(infinity) is infinite: r = 0, so that x_s = sqrt(abar_s) x0_hat and noise of the whole variance bbar_s."""
    solver = make_solver("er-sde")
    for s in (1, 20, 49):
        step = solver.step(ZERO, s, 50)
        assert step.lambda2 == pytest.approx(step.beta_bar_s, rel=1e-12)
        assert step.gamma == pytest.approx(math.sqrt(step.alpha_bar_s), rel=1e-12)
        assert step.direction == pytest.approx(0.0, abs=1e-9)


def test_er_sde_is_stochastic_and_has_no_bound_and_no_eta_to_tell() -> None:
    solver = make_solver("er-sde")
    assert solver.stochastic
    assert solver.as_dict() == {"name": "er-sde", "order": 3, "weight": 1.0, "through": "x_t", "eta": None}
    assert solver.why_no_bound == "the bound is that of the Markov chain (ddpm)"


@pytest.mark.parametrize(("eta", "noisy"), [(0.0, False), ((0.0, 0.0), False), ((0.0, 0.5), True), ((1.0, 0.0), True)])
def test_noise_at_any_step_makes_a_solver_stochastic(eta: float | tuple[float, ...], noisy: bool) -> None:
    for name in ("ddpm", "ddim", "dpmpp", "unipc"):
        assert make_solver(name, eta).stochastic == noisy
        assert make_solver(name, eta).why_no_bound is not None


def test_unipc_refuses_what_no_eta_is() -> None:
    with pytest.raises(UsageError, match=r"^eta must be between 0 \(DDIM\) and 1 \(DDPM\), found 1.5"):
        make_solver("unipc", 1.5)


def test_a_trend_is_weighed_up_to_fourfold() -> None:
    assert make_solver("deis", weight=4.0).as_dict()["weight"] == 4.0
    with pytest.raises(UsageError, match=r"^--weight must be between 0 and 4, found 4.1; 1 is the published one$"):
        make_solver("deis", weight=4.1)


def test_addim_makes_up_for_each_image_by_itself_and_for_a_share() -> None:
    """An image whose eps_hat is ten times as large is stretched by a hundredth as much, whoever is beside it."""
    solver = known("addim")
    assert isinstance(solver, ADDIM)
    assert solver.mse == 0.75
    steps = solver.steps(ZERO, explicit(50, (20, 40)))
    x, eps = images(1), images(2) * torch.tensor([1.0, 10.0], dtype=torch.float64)[:, None, None, None]
    together = solver.walk(steps).mean(steps[0], told_look(ZERO, x, 40, eps))
    alone = [solver.walk(steps).mean(steps[0], told_look(ZERO, x[i : i + 1], 40, eps[i : i + 1])) for i in (0, 1)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-12, atol=0)
    for share in (-0.1, 1.1):
        with pytest.raises(UsageError, match=f"^addim makes up for a share .* between 0 and 1, found {share:g}$"):
            ADDIM(mse=share)


def test_integrals_are_exact_to_rounding() -> None:
    """Of what decays over eight e-foldings, in either direction, and of a power that is not whole."""
    for low, high in ((-8.0, 0.0), (0.0, -8.0), (1.0, 1.5)):
        places, weights = gauss_legendre(low, high)
        assert float((weights * np.exp(places)).sum()) == pytest.approx(math.exp(high) - math.exp(low), rel=1e-13)
    places, weights = gauss_legendre(1.0, 9.0)
    assert float((weights * places**0.3).sum()) == pytest.approx((9**1.3 - 1) / 1.3, rel=1e-13)


def test_solvers_that_integrate_the_flow_take_no_covariance_unasked() -> None:
    """Their authors' figures have none."""
    assert [name for name in SOLVERS if load(name).covers] == ["ddpm", "ddim"]
