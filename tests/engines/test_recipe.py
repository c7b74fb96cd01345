"""Recipes of the literature: each can be made, is written as plain values, and has words of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from diffcov.covariance.registry import COVARIANCES, load
from diffcov.diffusion.grids import ALIASES, GRIDS
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.recipe import LITERATURE, NOTHING, USUAL, Recipe
from diffcov.errors import InputError, UsageError
from diffcov.solver.registry import make_solver

EVERYTHING = Recipe("dpmpp", "corrected", (1, 5, 9), (1.0, 0.5, 0.0), 2, 0.75, "eps_hat", 0.5, 1.02, False)


@pytest.mark.parametrize("recipe", [*LITERATURE.values(), EVERYTHING], ids=lambda recipe: recipe.label)
def test_a_recipe_survives_json(recipe: Recipe) -> None:
    """Lists become tuples again, so that a recipe that was read is the one that was written, and can be a key."""
    read = Recipe.from_dict(json.loads(json.dumps(recipe.as_dict())))
    assert read == recipe
    assert hash(read) == hash(recipe)


def test_as_plain_values_it_has_lists_and_no_tuples() -> None:
    values = EVERYTHING.as_dict()
    assert (values["grid"], values["eta"]) == ([1, 5, 9], [1.0, 0.5, 0.0])


@pytest.mark.parametrize("name", LITERATURE)
def test_every_recipe_of_the_literature_can_be_made(name: str) -> None:
    """The solver has what it is told, covariance and grid are registered, and nothing else is chosen."""
    recipe = LITERATURE[name]
    solver = make_solver(recipe.solver, **recipe.of_solver)
    assert solver.name == recipe.solver
    assert recipe.order in (None, solver.order)
    assert recipe.covariance in COVARIANCES
    assert recipe.grid in {**GRIDS, **ALIASES}
    assert (recipe.share, recipe.eps_scale, recipe.clip_x0) == (1.0, 1.0, True)
    assert recipe.covariance == NOTHING or recipe.solver in ("ddpm", "ddim")
    load(recipe.covariance).check_solver(solver)


def test_names_and_labels_tell_recipes_apart() -> None:
    assert len(set(LITERATURE.values())) == len({one.label for one in LITERATURE.values()}) == len(LITERATURE)
    assert set(USUAL) <= set(LITERATURE)
    assert NOTHING in COVARIANCES


def test_all_that_is_chosen_is_told_to_the_solver() -> None:
    solver = make_solver("dpmpp", **EVERYTHING.of_solver)
    assert solver.as_dict() == {
        "name": "dpmpp", "order": 2, "weight": 0.75, "through": "eps_hat", "eta": [1.0, 0.5, 0.0]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("recipe", "label"),
    [
        (Recipe(), "ddpm"),
        (Recipe("ddpm", "corrected"), "ddpm, corrected"),
        (Recipe("ddpm", "corrected", share=0.25), "ddpm, corrected c 0.25"),
        (Recipe("ddpm", share=0.25), "ddpm"),
        (Recipe("dpmpp", order=3, grid="logsnr"), "dpmpp-3, logsnr"),
        (Recipe("deis", order=3, start=600), "deis-3, start 600"),
        (Recipe("ddim", eta=0.0, clip_x0=False), "ddim, eta 0, no clip"),
        (Recipe("dcw", low_band=0.1, high_band=0.02), "dcw, low band 0.1, high band 0.02"),
        (
            EVERYTHING,
            "dpmpp-2, corrected c 0.5, eta 1+0.5+0, w 0.75, through eps_hat, times 1,5,9, eps_hat / 1.02, no clip",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_its_label_says_what_is_not_usual(recipe: Recipe, label: str) -> None:
    assert recipe.label == label


def test_a_recipe_of_another_version_is_refused() -> None:
    values = {**Recipe().as_dict(), "zeal": 1, "churn": 2}
    with pytest.raises(InputError, match=r"^a recipe has no churn, zeal; it was written by another version$"):
        Recipe.from_dict(values)


def test_what_a_user_would_pick_has_no_covariance() -> None:
    assert all(LITERATURE[name].covariance == NOTHING for name in USUAL)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"solver": "euler"}, "a recipe names 'euler', which is unknown; choose one of ddpm, ddim, dpmpp"),
        ({"covariance": "best"}, "a recipe names 'best', which is unknown; choose one of small, large"),
        ({"grid": "odd"}, "a recipe names 'odd', which is unknown; choose one of even, stride"),
        ({"share": 1.5}, "--share of the covariance to put back must be between 0 and 1, found 1.5"),
        ({"share": float("nan")}, "--share of the covariance to put back must be between 0 and 1, found nan"),
        ({"eps_scale": 0}, "the eps_scale of a recipe must be a positive number, found 0"),
    ],
)
def test_what_a_recipe_cannot_be(values: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        Recipe(**values)
    assert str(caught.value).startswith(words)


def test_it_is_known_without_torch() -> None:
    """So that help and completion can name recipes."""
    code = "import sys, diffcov.engines.recipe; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_a_start_spreads_a_named_grid_below_it() -> None:
    schedule = NoiseSchedule.linear(100)
    assert Recipe("deis", start=41).times(schedule, 5).times == (1, 11, 21, 31, 41)
    assert Recipe("deis", grid=(1, 9, 30), start=30).times(schedule, 3).times == (1, 9, 30)
    with pytest.raises(UsageError, match=r"^listed times that end at 30 start there, and not at 40"):
        Recipe("deis", grid=(1, 9, 30), start=40)
    with pytest.raises(UsageError, match=r"^5 steps that start at t = 101 need a start in 5..T=100"):
        Recipe("deis", start=101).times(schedule, 5)
