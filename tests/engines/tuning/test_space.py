"""What a search tries: nothing twice, nothing that means nothing, and everything can be built."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from diffcov.covariance import registry
from diffcov.covariance.registry import PREFERENCE
from diffcov.diffusion.grids import GRIDS
from diffcov.engines.recipe import LITERATURE, NOTHING, Recipe
from diffcov.engines.tuning.space import Space
from diffcov.solver.multistep import Multistep
from diffcov.solver.registry import SOLVERS, load, make_solver
from oracles.offered import OF_ANY_MEAN

EVERYTHING = Space(tuple(dict.fromkeys((*(name for name in PREFERENCE if name in OF_ANY_MEAN), *OF_ANY_MEAN))),
                   tuple(SOLVERS), steps=5)  # fmt: skip
POOR = Space(("small", "large"), tuple(name for name in SOLVERS if not load(name).needs))
"""Of a run with a mean alone."""
STARTING = replace(EVERYTHING, last=1000)
"""Of a run that also knows the Gaussian of its images."""
SPACES = {"everything": EVERYTHING, "mean alone": POOR, "starting": STARTING}


def neighbours(space: Space, step: float = 0.25) -> list[Recipe]:
    """All that lies beside anything that a search begins with."""
    return [one for parent in space.beginning() for one in space.beside(parent, step)]


def does(recipe: Recipe) -> tuple[object, ...]:
    """All that decides an image, however it is written."""
    solver = make_solver(recipe.solver, **recipe.of_solver)
    share = 1.0 if recipe.covariance == NOTHING else recipe.share
    view = recipe.eps_scale, recipe.clip_x0
    return solver.label, repr(solver), recipe.covariance, share, recipe.grid, recipe.start, *view


@pytest.mark.parametrize("name", SPACES)
def test_every_candidate_has_a_meaning(name: str) -> None:
    space = SPACES[name]
    for recipe in (*space.beginning(), *neighbours(space)):
        solver = make_solver(recipe.solver, **recipe.of_solver)
        registry.load(recipe.covariance).check_solver(solver)
        assert recipe.solver in space.solvers
        assert recipe.covariance in space.covariances
        assert 0 < recipe.share <= 1
        assert 0.98 < recipe.eps_scale < 1.02
        if isinstance(solver, Multistep):
            assert recipe.order is not None and 1 < recipe.order <= solver.orders[-1], "order 1 is ddim's or ddpm's"
            assert 0 < solver.weight <= 2


@pytest.mark.parametrize("name", SPACES)
def test_nothing_is_tried_twice(name: str) -> None:
    """Also not under another way to write it: eta 1 of ddpm is ddpm."""
    space = SPACES[name]
    beginning = space.beginning()
    assert len({does(one) for one in beginning}) == len(beginning)
    for parent in beginning:
        found = [does(one) for one in space.beside(parent, 0.25)]
        assert len(set(found)) == len(found)
        assert does(parent) not in found
    everything = dict.fromkeys([*beginning, *neighbours(space)])
    assert len({does(one) for one in everything}) == len(everything)


def test_it_begins_with_the_literature() -> None:
    assert list(EVERYTHING.beginning())[: len(LITERATURE)] == list(LITERATURE.values())
    known = {name for name, one in LITERATURE.items() if one in POOR.beginning()}
    assert {"ddim", "ddpm-small", "ddpm-large", "dpmpp-2m", "unipc", "ipndm", "er-sde"} <= known
    assert not known & {"npr-ddpm", "spectral-ddim", "spectral-ei", "addim"}, "what they need is not there"


@pytest.mark.parametrize("name", SPACES)
def test_it_tries_every_solver_that_the_run_can_build(name: str) -> None:
    """The literature knows no name for some; each is tried on three grids, and at every order from 2 on."""
    found = SPACES[name].beginning()
    assert {one.solver for one in found} == set(SPACES[name].solvers)
    for solver in set(SPACES[name].solvers) - {"ddpm", "ddim"}:
        assert {one.grid for one in found if one.solver == solver} == {"even", "quad", "edm"}


def test_a_neighbour_differs_in_one_thing() -> None:
    """In its solver's numbers, grid, scale, or what is put back, where the covariance and its share are one thing."""
    for parent in EVERYTHING.beginning():
        for other in EVERYTHING.beside(parent, 0.25):
            before, after = does(parent), does(other)
            changed = [
                before[:2] != after[:2],
                before[2:4] != after[2:4],
                *(a != b for a, b in zip(before[4:], after[4:], strict=True)),
            ]
            assert sum(changed) == 1, (parent, other)


def test_steps_become_smaller() -> None:
    parent = Recipe("dpmpp", "spectral", order=2, weight=0.5, share=0.5)
    for step in (0.25, 0.125):
        found = EVERYTHING.beside(parent, step)
        assert {one.weight for one in found} == {0.5, 0.5 - step, 0.5 + step}
        assert {one.share for one in found if one.covariance == "spectral"} == {0.5, 0.5 - step, 0.5 + step}
        scales = sorted({one.eps_scale for one in found})
        assert scales == pytest.approx([1 - 0.02 * step, 1, 1 + 0.02 * step])
        assert {one.eta for one in found if not isinstance(one.eta, tuple)} == {None, step}, "0 is its own"


def test_only_grids_that_differ_are_tried() -> None:
    space = Space(POOR.covariances, POOR.solvers, ("even", "edm"))
    assert {one.grid for one in (*space.beginning(), *neighbours(space))} == {"even", "edm"}
    assert {one.grid for one in neighbours(POOR)} == set(GRIDS)


def test_listed_times_stay() -> None:
    found = POOR.beside(Recipe("ddim", grid=(1, 9, 50)), 0.25)
    assert {one.grid for one in found} == {(1, 9, 50)}
    assert any(one.eps_scale != 1 for one in found)


def test_numbers_stay_in_their_ranges() -> None:
    edge = Recipe("ddim", "spectral", share=1.0, eta=1.0)
    found = EVERYTHING.beside(edge, 0.25)
    assert max(one.share for one in found) == 1
    assert {one.eta for one in found if not isinstance(one.eta, tuple)} == {1.0, 0.75}
    assert all(math.isfinite(one.eps_scale) for one in found)


def test_bands_are_searched_where_a_solver_has_some() -> None:
    """One at a time, never below 0."""
    found = EVERYTHING.beside(Recipe("dcw"), 0.25)
    assert {one.low_band for one in found} == {None, 0.027, 0.077}
    assert {one.high_band for one in found} == {None, 0.035}
    assert all(one.low_band is None or one.high_band is None for one in found)
    assert all(one.low_band is None for one in EVERYTHING.beside(Recipe("ddim"), 0.25))


def test_noise_is_tried_in_either_half_of_the_steps() -> None:
    """An eta a step, as many as there are steps; half of them have none, and one number is left as it is."""
    quiet, noisy = Recipe("dpmpp", order=2), Recipe("ddpm", eta=0.5)
    found = [one.eta for one in EVERYTHING.beside(quiet, 0.25) if isinstance(one.eta, tuple)]
    assert found == [(0.25, 0.25, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.25, 0.25)]
    found = [one.eta for one in EVERYTHING.beside(noisy, 0.25) if isinstance(one.eta, tuple)]
    assert found == [(0.5, 0.5, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.5, 0.5)]
    assert not any(isinstance(one.eta, tuple) for one in POOR.beside(quiet, 0.25)), "one step has no halves"


def test_starts_below_T_are_searched_where_the_images_are_known() -> None:
    """Every solver begins with two; beside them lie earlier and later ones, and noise; else there is noise alone."""
    for solver in set(STARTING.solvers) - {"ddpm", "ddim"}:
        starts = {(one.grid, one.start) for one in STARTING.beginning() if one.solver == solver}
        assert {("even", 500), ("quad", 750)} <= starts
    assert {one.start for one in (*EVERYTHING.beginning(), *neighbours(EVERYTHING))} == {None}
    assert not EVERYTHING.can(Recipe("ddim", start=500))
    found = STARTING.beside(Recipe("deis", order=3, start=500), 0.25)
    assert {one.start for one in found} == {None, 375, 500, 625}
    found = STARTING.beside(Recipe("deis", order=3), 0.25)
    assert {one.start for one in found} == {None, 500, 750}
    assert {one.start for one in STARTING.beside(Recipe("ddim", start=950), 0.25)} == {None, 825, 950}


def test_starts_leave_times_for_all_steps() -> None:
    """A start is a time below T, with at least as many times up to it as there are steps."""
    short = replace(STARTING, last=8)
    assert {one.start for one in short.beginning()} == {None, 6}, "5 steps have no room below 4"
    assert {one.start for one in short.beside(Recipe("ddim", start=6), 0.5)} == {None, 6}
    assert {one.start for one in STARTING.beside(Recipe("ddim", start=875), 0.25)} == {None, 750, 875}
    listed = Recipe("ddim", grid=(1, 9, 50), start=50)
    assert {one.start for one in STARTING.beside(listed, 0.25)} == {50}, "listed times end where they end"


def test_the_share_of_nothing_is_no_number() -> None:
    found = EVERYTHING.beside(Recipe("ddim", share=0.5), 0.25)
    assert all(one.share == 1 for one in found if one.covariance == NOTHING)
    assert EVERYTHING.beside(Recipe("ddim"), 0.25) == found


def test_bands_are_looked_for_beside_those_that_were_found() -> None:
    found = EVERYTHING.beside(Recipe("dcw", low_band=0.1, high_band=0.2), 0.25)
    assert {one.low_band for one in found} == {0.1, 0.075, 0.125}
    assert {one.high_band for one in found} == {0.2, 0.175, 0.225}


def test_etas_a_step_stay() -> None:
    etas = (0.3, 0.0, 0.0, 0.2, 0.1)
    assert {one.eta for one in EVERYTHING.beside(Recipe("ddim", eta=etas), 0.25)} == {etas}


def test_the_best_liked_covariances_are_tried() -> None:
    """Two beside none, at a small share; five with the plain solvers."""
    liked = [name for name in EVERYTHING.covariances if registry.load(name).needs]
    assert len(liked) > 5
    beside = {(one.covariance, one.share) for one in EVERYTHING.beside(Recipe("ddim"), 0.25)}
    assert beside == {(NOTHING, 1.0), *((name, 0.25) for name in liked[:2])}
    plain = {
        one.covariance for one in EVERYTHING.beginning() if one not in LITERATURE.values() and one.solver == "ddim"
    }
    assert plain <= {*liked[:5]}
    assert {one.covariance for one in EVERYTHING.beginning() if one.solver == "ddim"} >= {*liked[:5]}


def test_the_more_is_inferred_from_earlier_looks_the_less_is_put_back() -> None:
    """c = 1 - w, as benchmarks/README.md found it."""
    found = [one for one in EVERYTHING.beginning() if one.solver == "dpmpp" and one.covariance != NOTHING]
    assert {(one.weight, one.share) for one in found} == {(0.25, 0.75), (0.5, 0.5), (0.75, 0.25)}
