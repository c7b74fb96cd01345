"""The two published ways to write the mean of a step, and what a solver states of itself."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace

import pytest
import torch

from diffcov.diffusion.grid import explicit
from diffcov.diffusion.level import q_sample
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.diffusion.step import Step
from diffcov.errors import InputError, UsageError
from diffcov.solver.base import Solver
from diffcov.solver.ddim import DDIM
from diffcov.solver.ddpm import DDPM
from diffcov.solver.registry import SOLVERS, load, make_solver
from oracles.measured import told_look

ROUNDING = 1e-10
"""Absolute, for chains of a few float64 operations with x_0 up to 1 and 1/sqrt(abar_t) up to 157 (linear)."""

ETAS = [0.0, 0.3, 0.5, 0.9, 1.0]
PAIRS = [(0, 1), (1, 2), (0, 500), (1, 1000), (499, 500), (999, 1000), (100, 900), (0, 1000), (37, 41)]
LINEAR = NoiseSchedule.linear(1000)
ALL = [DDPM(), *(DDIM(eta) for eta in ETAS)]


def images(seed: int) -> torch.Tensor:
    return torch.randn(4, 3, 5, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- means


def test_ddpm_writes_its_mean_through_x_t_and_ddim_through_eps() -> None:
    """They differ once x0_hat is clipped and eps_hat is not recomputed: that is the published convention."""
    step = Step(LINEAR, 400, 500, eta=0.5)
    x_t, clipped, eps_hat = images(4), images(5).clamp(-1, 1), images(6)
    look = replace(told_look(LINEAR, x_t, 500, eps_hat), x0_hat=clipped, consistent=False)
    assert torch.equal(DDPM().walk([]).mean(step, look), step.mean_from_x_t(clipped, x_t))
    assert torch.equal(DDIM().walk([]).mean(step, look), step.mean_from_eps(clipped, eps_hat))
    assert not torch.allclose(step.mean_from_x_t(clipped, x_t), step.mean_from_eps(clipped, eps_hat))


@pytest.mark.parametrize(("s", "t"), PAIRS)
def test_of_an_unclipped_look_both_write_the_same_mean_where_eta_is_the_same(s: int, t: int) -> None:
    look = told_look(LINEAR, q_sample(LINEAR, images(2), t, images(3)), t, images(3))
    ddpm, ddim = (solver.walk([]).mean(solver.step(LINEAR, s, t), look) for solver in (DDPM(), DDIM(1.0)))
    torch.testing.assert_close(ddpm, ddim, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("solver", ALL, ids=lambda solver: solver.label)
@pytest.mark.parametrize(("s", "t"), PAIRS)
def test_a_perfect_look_is_carried_to_the_posterior_mean(s: int, t: int, solver: Solver) -> None:
    """sqrt(abar_s) x_0 + sqrt(bbar_s - lambda2) eps, by the definition; without noise of its own also the sample."""
    x_0, eps = images(2), images(3)
    step = solver.step(LINEAR, s, t)
    mean = solver.walk([]).mean(step, told_look(LINEAR, q_sample(LINEAR, x_0, t, eps), t, eps))
    abar, bbar = float(LINEAR.alpha_bar[s]), float(LINEAR.beta_bar[s])
    expected = math.sqrt(abar) * x_0 + math.sqrt(max(0.0, bbar - step.lambda2)) * eps
    torch.testing.assert_close(mean, expected, rtol=0, atol=1e-7 if s else ROUNDING)
    if solver.eta == 0:
        torch.testing.assert_close(mean, q_sample(LINEAR, x_0, s, eps), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("solver", ALL, ids=lambda solver: solver.label)
def test_a_step_is_that_of_its_eta(solver: Solver) -> None:
    assert solver.step(LINEAR, 37, 41) == Step(LINEAR, 37, 41, solver.eta)
    with pytest.raises(InputError, match="0 <= s < t <= T=1000, found s=5, t=5"):
        solver.step(LINEAR, 5, 5)


@pytest.mark.parametrize("solver", ALL, ids=lambda solver: solver.label)
def test_a_walk_remembers_nothing(solver: Solver) -> None:
    """Of first order: a mean is that of the one look, whatever was seen before."""
    looks = [told_look(LINEAR, images(t), t, images(t + 1)) for t in (900, 500)]
    walk = solver.walk([])
    walk.mean(solver.step(LINEAR, 500, 900), looks[0])
    second = walk.mean(solver.step(LINEAR, 100, 500), looks[1])
    assert torch.equal(second, solver.walk([]).mean(solver.step(LINEAR, 100, 500), looks[1]))
    assert solver.order == 1


# --- what they state


@pytest.mark.parametrize(
    ("solver", "name", "eta", "label"),
    [
        (DDPM(), "ddpm", 1, "ddpm"),
        (DDIM(), "ddim", 0, "ddim"),
        (DDIM(0.5), "ddim", 0.5, "ddim-eta0.5"),
        (DDIM(1.0), "ddim", 1, "ddim-eta1"),
    ],
)
def test_solvers_state_themselves(solver: Solver, name: str, eta: float, label: str) -> None:
    assert (solver.name, solver.eta, solver.label) == (name, eta, label)
    assert solver.as_dict() == {"name": name, "eta": eta}
    assert solver.stochastic == (eta > 0)
    for words in (solver.summary, solver.reference):
        assert words
        assert "\n" not in words


@pytest.mark.parametrize(
    ("solver", "why"),
    [
        (DDPM(), None),
        (DDIM(1.0), "the bound is that of the Markov chain (ddpm)"),
        (DDIM(), "its posterior has no variance"),
        (DDIM(0.5), "the bound is that of the Markov chain (ddpm)"),
    ],
    ids=lambda given: given.label if isinstance(given, Solver) else "",
)
def test_only_the_markov_chain_has_a_bound(solver: Solver, why: str | None) -> None:
    assert solver.why_no_bound == why


@dataclass(frozen=True)
class Ordered(DDIM):
    """A solver with a choice of its own."""

    order: int = 2
    variant: str = "b1"

    name = "ordered"


def test_whatever_can_be_chosen_is_part_of_what_a_solver_is() -> None:
    """Two settings of one method must not share caches or folders."""
    assert Ordered().as_dict() == {"name": "ordered", "eta": 0.0, "order": 2, "variant": "b1"}
    assert [one.label for one in (Ordered(), Ordered(order=3), Ordered(0.5, 3, "b2"))] == [
        "ordered", "ordered-order3", "ordered-eta0.5-order3-variantb2",
    ]  # fmt: skip
    assert DDIM(0.5).as_dict() == {"name": "ddim", "eta": 0.5}
    assert DDPM().as_dict() == {"name": "ddpm", "eta": 1.0}


def test_solvers_are_equal_if_what_was_chosen_is() -> None:
    assert DDIM(0.5) == DDIM(0.5)
    assert len({DDPM(), DDPM(), DDIM(), DDIM(0.0), DDIM(0.5)}) == 3
    assert json.dumps(DDIM(1).as_dict()) == json.dumps(DDIM(1.0).as_dict()), "1 and 1.0 are written alike"


# --- by name


def test_solvers_by_name() -> None:
    assert all(load(name).name == name for name in SOLVERS)
    made = [make_solver("ddpm"), make_solver("ddpm", 1.0), make_solver("ddim"), make_solver("ddim", 0.3)]
    assert made == [DDPM(), DDPM(), DDIM(), DDIM(0.3)]


def test_a_name_that_nobody_has_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^unknown solver 'heun'; choose one of ddpm, ddim, dpmpp, "):
        make_solver("heun")


def test_ddpm_with_another_eta_has_no_bound() -> None:
    assert make_solver("ddpm").why_no_bound is None
    assert make_solver("ddpm", 0.5).why_no_bound == "the bound is that of the Markov chain (ddpm)"
    assert make_solver("ddpm", 0.0).why_no_bound == "its posterior has no variance"


def test_an_option_that_a_solver_does_not_have_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^ddim has no order, but order 2 was asked for; it takes --eta$"):
        make_solver("ddim", order=2)
    with pytest.raises(UsageError, match=r"^ipndm has no eta, but eta 0.5 was asked for; it takes --order, --w"):
        make_solver("ipndm", 0.5)


def test_one_eta_a_step() -> None:
    solver, grid = make_solver("ddim", (1.0, 0.5, 0.0)), explicit(1000, (100, 500, 900))
    assert [step.eta for step in solver.steps(LINEAR, grid)] == [1.0, 0.5, 0.0]
    assert solver.label == "ddim-eta1+0.5+0"
    with pytest.raises(UsageError, match=r"^--eta lists 3 numbers, one a step, and the grid has 2 steps; give one"):
        solver.steps(LINEAR, explicit(1000, (1, 2)))


@pytest.mark.parametrize("eta", [-0.1, 1.1, math.nan])
def test_eta_outside_its_range_is_refused(eta: float) -> None:
    for make in (
        DDIM,
        lambda e: DDIM.of(eta=e),
        lambda e: make_solver("ddim", e),
        lambda e: make_solver("ddpm", (0.5, e)),
    ):
        with pytest.raises(UsageError, match=f"between 0 .DDIM. and 1 .DDPM., found {eta}"):
            make(eta)
