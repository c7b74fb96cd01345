"""The search: finds a known optimum, spends what it may, is the same twice, and copes with what cannot be drawn."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from diffcov.diffusion.grids import GRIDS
from diffcov.engines.recipe import LITERATURE, Recipe
from diffcov.engines.tuning.halving import Candidate, Enough, Plan, Search
from diffcov.engines.tuning.space import Space
from diffcov.solver.registry import SOLVERS
from oracles.offered import OF_ANY_MEAN

SPACE = Space(("spectral", *(name for name in OF_ANY_MEAN if name != "spectral")), tuple(SOLVERS))
BEST = Recipe("dpmpp", "spectral", "edm", order=2, weight=0.75, through="eps_hat", share=0.25, eps_scale=1.01)
PLAN = Plan()


def distance(recipe: Recipe, count: int) -> float:
    """Smooth in weight, share and scale around :data:`BEST`, with steps for the rest; less is known on few samples."""
    far = 0.0 if recipe.solver == BEST.solver else 2.0
    far += 1.0 * (recipe.covariance != BEST.covariance) + 0.5 * (recipe.through != BEST.through)
    far += 0.1 * abs(list(GRIDS).index(str(recipe.grid)) - list(GRIDS).index(str(BEST.grid)))
    far += 2 * ((1 if recipe.weight is None else recipe.weight) - 0.75) ** 2 + (recipe.share - 0.25) ** 2
    far += (100 * (recipe.eps_scale - 1.01)) ** 2 / 4 + (0 if recipe.eta is None else float(str(recipe.eta)))
    return 1 + far + 0.01 * math.sin(hash_of(recipe)) / math.sqrt(count)


def hash_of(recipe: Recipe) -> int:
    return sum(map(ord, recipe.label))


def searched(judge: Callable[[Recipe, int], float] = distance, plan: Plan = PLAN) -> tuple[Search, list[Candidate]]:
    search = Search(SPACE, plan, judge)
    return search, search.run()


def test_a_known_optimum_is_found() -> None:
    search, finalists = searched()
    best = finalists[0].recipe
    assert (best.solver, best.covariance, best.through) == ("dpmpp", "spectral", "eps_hat")
    assert best.grid == "edm"
    assert best.weight == pytest.approx(0.75, abs=0.07)
    assert best.share == pytest.approx(0.25, abs=0.13)
    start = min(distance(one, 256) for one in SPACE.beginning())
    assert distance(best, 256) - 1 < 0.6 * (start - 1)
    assert search.best == finalists[0]


def test_it_is_the_same_twice() -> None:
    (one, first), (other, second) = searched(), searched()
    assert first == second
    assert list(one.found.values()) == list(other.found.values())


def test_finalists_were_seen_on_most_samples() -> None:
    """Each has been on every rung, and a rung holds those that were nearest on the one below when it was filled."""
    search, finalists = searched()
    counts = [PLAN.few, *(times * PLAN.few for times, _ in PLAN.rungs)]
    assert len(finalists) == PLAN.finalists
    assert all(list(one.distance) == counts for one in finalists)
    assert finalists == sorted(finalists, key=lambda one: one.distance[counts[-1]])
    for below, count, (_, staying) in zip(counts, counts[1:], PLAN.rungs, strict=False):
        nearest = sorted(
            (one for one in search.found.values() if below in one.distance), key=lambda one: one.distance[below]
        )
        assert all(count in one.distance for one in nearest[:staying])
        assert sum(count in one.distance for one in nearest) <= staying * (1 + len(PLAN.parents))


@pytest.mark.parametrize("sheets", [60, 100, 220])
def test_it_spends_what_it_may(sheets: int) -> None:
    """What it is judged on is counted by the judge itself; more of a candidate continue what it had."""
    had: dict[Recipe, int] = {}

    def judge(recipe: Recipe, count: int) -> float:
        had[recipe] = max(count, had.get(recipe, 0))
        return distance(recipe, count)

    plan = Plan(sheets=sheets)
    search, finalists = searched(judge, plan)
    assert search.spent == sum(had.values()) <= plan.choosing == sheets * 64
    assert len(finalists) == plan.finalists


def test_300_sheets_of_64_are_the_most_by_default() -> None:
    assert PLAN.most == 220 * 64 + 5 * 1000 <= 300 * 64


def test_what_cannot_be_drawn_is_neither_parent_nor_finalist() -> None:
    """Whatever is near the best cannot be: the search takes the best of the others."""
    search, finalists = searched(
        lambda recipe, count: math.inf if recipe.solver == "dpmpp" else distance(recipe, count)
    )
    assert all(one.recipe.solver != "dpmpp" for one in finalists)
    lost = [one for one in search.found.values() if not one.drawable]
    assert {tuple(one.distance) for one in lost} == {(PLAN.few,)}
    assert all(one.recipe in SPACE.beginning() for one in lost), "nothing lies beside what cannot be drawn"
    assert search.best == finalists[0]


def test_nothing_at_all_can_be_drawn() -> None:
    search, finalists = searched(lambda recipe, count: math.inf)
    assert (finalists, search.best, search.published()) == ([], None, [])
    assert len(search.found) == len(SPACE.beginning())


@pytest.mark.parametrize("calls", [1, 20, 70, 130])
def test_without_time_for_more_it_takes_the_best_so_far(calls: int) -> None:
    judged: list[Recipe] = []

    def judge(recipe: Recipe, count: int) -> float:
        if len(judged) == calls:
            raise Enough
        judged.append(recipe)
        return distance(recipe, count)

    search, finalists = searched(judge)
    assert set(search.found) == set(judged)
    assert finalists[0] == min(search.found.values(), key=lambda one: one.rank)
    assert len(finalists) == min(calls, PLAN.finalists)


def test_the_best_of_the_literature_are_known() -> None:
    search, _ = searched()
    names = {recipe: name for name, recipe in LITERATURE.items()}
    best = sorted(LITERATURE.values(), key=lambda one: distance(one, 64))
    assert {names[one.recipe] for one in search.published()} <= {names[one] for one in best[:4]}
    assert len(search.published()) == PLAN.published


def test_nothing_is_judged_twice_on_as_many_samples() -> None:
    judged: list[tuple[Recipe, int]] = []

    def judge(recipe: Recipe, count: int) -> float:
        judged.append((recipe, count))
        return distance(recipe, count)

    searched(judge)
    assert len(set(judged)) == len(judged)


def test_a_rung_takes_those_that_were_nearest_on_the_one_below() -> None:
    """On each number of samples another order: what few samples said is forgotten."""
    numbers = {one: place for place, one in enumerate(SPACE.beginning())}

    def judge(recipe: Recipe, count: int) -> float:
        return float(numbers[recipe] * {64: 1, 128: -1, 256: 1, 512: -1}[count])

    search, finalists = searched(judge, Plan(parents=(), steps=()))
    last = [[one.recipe for one in search.found.values() if count in one.distance] for count in (128, 256, 512)]
    assert [sorted(numbers[one] for one in rung) for rung in last] == [[*range(12)], [*range(6, 12)], [6, 7, 8]]
    assert [numbers[one.recipe] for one in finalists] == [8, 7, 6]


def test_the_rungs_take_what_they_are_said_to_take() -> None:
    """12 from 64 to 128 samples, 6 from there to 256, 3 from there to 512."""
    assert PLAN.climb == 12 * 64 + 6 * 128 + 3 * 256
    assert Plan(few=16).climb == PLAN.climb / 4
    assert Plan(few=16).choosing == 220 * 16


@pytest.mark.parametrize("sheets", [75, 90])
def test_it_spends_no_more_where_some_fail_on_more_samples(sheets: int) -> None:
    """Others move up in their places, which nobody has put samples by for."""
    plan = Plan(sheets=sheets)
    search, _ = searched(lambda one, count: math.inf if count > 64 else distance(one, count), plan)
    assert plan.choosing - 128 < search.spent <= plan.choosing
