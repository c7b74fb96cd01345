"""The matrices as a solver: exact in one look for Gaussian data of any covariance, where cosines are not."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

from diffcov.diffusion.grid import explicit
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import InputError
from diffcov.solver.base import Solver
from diffcov.solver.exponential import KERNELS
from diffcov.solver.full_ei import FullEI
from diffcov.solver.registry import make_solver
from diffcov.statistics.base import Statistic
from diffcov.statistics.knots import Knots
from oracles.correlated import correlated, world_of
from oracles.diagonal import DiagonalWorld
from oracles.measured import told_matrices, told_spectrum

SHAPE = (1, 4, 4)
SCHEDULES = {"linear": NoiseSchedule.linear(1000), "cosine": NoiseSchedule.cosine(1000)}


@cache
def world(schedule: NoiseSchedule) -> DiagonalWorld:
    """Pixels that lean on their neighbours, and on others in four directions that no cosines know."""
    return world_of(correlated(SHAPE), SHAPE, schedule)


@cache
def statistics(truth: DiagonalWorld) -> dict[str, Statistic]:
    return {"matrices": truth.matrices(), "spectrum": truth.spectrum()}


def known(truth: DiagonalWorld, name: str = "full-ei", **chosen: object) -> Solver:
    return make_solver(name, **chosen).given(statistics(truth))


def on_the_flow(truth: DiagonalWorld, count: int, *times: int) -> list[Tensor]:
    """The same draws at each of some times: standardised coefficients stand still."""
    draws = torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    abar, bbar = truth.schedule.alpha_bar, truth.schedule.beta_bar
    return [truth.basis.inverse((abar[t] * truth.var + bbar[t]).sqrt() * draws) for t in times]


def off(truth: DiagonalWorld, solver: Solver, s: int, t: int) -> float:
    """How far one step from draws of q(x_t) ends from where the flow takes them, relatively."""
    start, exact = on_the_flow(truth, 6, t, s)
    steps = solver.steps(truth.schedule, explicit(1000, (s, t)))
    found = solver.walk(steps).mean(steps[0], truth.look(start, t))
    return float((found - exact).norm() / exact.norm())


@pytest.mark.parametrize("name", SCHEDULES)
def test_one_look_is_exact_for_gaussian_data_of_any_covariance(name: str) -> None:
    """From q(x_t) to any s; the spectrum, which is that of the same data, is off by a hundred times as much."""
    truth = world(SCHEDULES[name])
    full, spectral = known(truth), known(truth, "spectral-ei")
    for s, t in [(1, 990), (5, 500), (400, 990), (700, 710), (20, 30)]:
        assert off(truth, full, s, t) < 2e-4
        assert off(truth, full, s, t) < 0.01 * off(truth, spectral, s, t)


def test_a_few_knots_are_enough() -> None:
    truth = world(SCHEDULES["linear"])
    few = truth.matrices(Knots.spread(truth.schedule, 24).times)
    assert off(truth, FullEI().given({"matrices": few}), 5, 900) < 1e-3


def test_where_eps_hat_moves_as_the_matrices_say_there_is_no_trend() -> None:
    """On the flow of Gaussian data order 2 adds nothing to order 1."""
    truth, grid = world(SCHEDULES["linear"]), explicit(1000, (10, 200, 500, 900))
    base, more = (known(truth, order=order) for order in (1, 2))
    walks = [solver.walk(solver.steps(truth.schedule, grid)) for solver in (base, more)]
    (x,) = on_the_flow(truth, 3, 900)
    for step in base.steps(truth.schedule, grid):
        means = [walk.mean(step, truth.look(x, step.t)) for walk in walks]
        torch.testing.assert_close(means[0], means[1], rtol=0, atol=1e-4)
        x = means[0]


@pytest.mark.parametrize("order", [1, 2])
def test_of_independent_cosines_it_is_spectral_ei(order: int) -> None:
    """Matrices that are diagonal in cosines are a spectrum, whatever order their eigenvectors come in."""
    schedule, grid = SCHEDULES["cosine"], explicit(1000, (10, 200, 500, 900))
    var = torch.logspace(0, -3, 16, dtype=torch.float64).reshape(SHAPE)
    spectrum = told_spectrum(range(1, 1001), lambda t: DiagonalWorld(schedule, var).var_eps(t), SHAPE)
    truth = DiagonalWorld(schedule, var, spectrum.basis)
    matrices = told_matrices(range(1, 1001), truth.cov_eps, SHAPE)
    pair = [make_solver(name, order=order).given({"matrices": matrices, "spectrum": spectrum})
            for name in ("full-ei", "spectral-ei")]  # fmt: skip
    walks = [solver.walk(solver.steps(schedule, grid)) for solver in pair]
    x = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for step in pair[0].steps(schedule, grid):
        look = truth.look(1.3 * x.sin(), step.t)  # off the flow, so that there is a trend
        means = [walk.mean(step, look) for walk in walks]
        torch.testing.assert_close(means[0], means[1], rtol=0, atol=1e-4)
        x = means[0]


def test_its_basis_is_one_in_which_the_integral_over_the_step_is_diagonal() -> None:
    """Of matrices that do not commute: what is left of eps_hat is exp(-Omega), no commutator."""
    schedule = NoiseSchedule.linear(1000)
    draw = torch.Generator().manual_seed(0)
    roots = [torch.randn(16, 16, generator=draw, dtype=torch.float64) for _ in range(2)]
    ends = [root @ root.T / 64 + 0.1 * torch.eye(16, dtype=torch.float64) for root in roots]
    matrices = told_matrices([400, 600], lambda t: ends[t == 600], SHAPE)
    times = torch.arange(600, 399, -1)
    basis, v = FullEI(matrices=matrices).rates(schedule, times)
    half = (schedule.log_snr[times].diff() / 4)[:, None]  # of d ln sigma
    weights = matrices.knot_weights(schedule, times)
    area = (half * (weights[1:] + weights[:-1])).sum(0)

    def seen(matrix: Tensor) -> Tensor:
        """In the basis, from both sides."""
        once = basis.forward(matrix.reshape(16, *SHAPE)).flatten(1)
        return basis.forward(once.T.reshape(16, *SHAPE)).flatten(1)

    omega, there = seen(area[0] * ends[0] + area[1] * ends[1]), seen(ends[1])
    assert float((omega - omega.diagonal().diag()).abs().max()) < 1e-6 * float(omega.max())
    assert float((there - there.diagonal().diag()).abs().max()) > 0.01, "they do not commute"
    torch.testing.assert_close(v[0].flatten(), there.diagonal(), rtol=1e-5, atol=0)
    between = (weights[70] @ torch.stack([seen(end).diagonal() for end in ends]).log()).exp()
    torch.testing.assert_close(v[70].flatten(), between, rtol=1e-5, atol=0)  # logarithms, as the spectrum's


def test_it_needs_matrices_and_says_which_in_its_identity() -> None:
    truth = world(SCHEDULES["linear"])
    with pytest.raises(InputError, match=r"^full-ei needs the matrices and was given none; use Solver.given$"):
        FullEI().walk([])
    assert known(truth).as_dict()["made_of"] == {"matrices.safetensors": statistics(truth)["matrices"].digest}


@pytest.mark.parametrize("name", ["full-ei", "spectral-ei"])
def test_one_solver_walks_on_several_schedules(name: str) -> None:
    """The same pair of times is another step on each, and what is kept of steps does not grow for ever."""
    truth = world(SCHEDULES["linear"])
    solver = known(truth, name)
    (x,) = on_the_flow(truth, 1, 900)
    found = []
    for schedule in (*SCHEDULES.values(), SCHEDULES["linear"]):
        step = solver.step(schedule, 300, 900)
        look = DiagonalWorld(schedule, truth.var, truth.basis).look(x, 900)
        alone = known(truth, name)
        found.append(solver.walk([step]).mean(step, look))
        assert torch.equal(found[-1], alone.walk([step]).mean(step, look))
    assert not torch.allclose(found[0], found[1], rtol=1e-2)
    for t in range(2, KERNELS + 12):
        step = solver.step(SCHEDULES["linear"], t - 1, t)
        solver.walk([step]).mean(step, truth.look(x, t))
    assert len(solver._kernels) == KERNELS  # type: ignore[attr-defined]
