"""Which sampler an export is asked for: a recipe by name or file, or one that is made of the options."""

from __future__ import annotations

from dataclasses import dataclass, replace

from diffcov.engines.recipe import NOTHING, Recipe
from diffcov.errors import UsageError
from diffcov.solver.registry import make_solver
from diffcov.store.checkpoint import MeanCheckpoint
from diffcov.study.grids import NAMED, OPTIMAL, grid_name, pick_grid
from diffcov.study.requests.export import ExportRequest
from diffcov.study.requests.shared import decided_by_recipe, refuse_beside_recipe
from diffcov.study.requests.words import AUTO
from diffcov.study.samplers import named_recipe

__all__ = ["Wanted", "wanted_recipe"]


@dataclass(frozen=True)
class Wanted:
    """A recipe and its number of steps.

    Attributes:
        recipe: the sampler; of the covariance only if that is chosen.
        steps: K where nobody says another; None: there is no such K.
        choose: whether the covariance is still to be chosen.
    """

    recipe: Recipe
    steps: int | None
    choose: bool = False


def wanted_recipe(request: ExportRequest, mean: MeanCheckpoint) -> Wanted:
    """The recipe that a request means.

    Raises:
        UsageError: a recipe beside options that it decides, no such recipe, a number of steps where none can be told,
            or options that contradict each other.
        InputError: a file that is no recipe, or one that was found with another mean.
    """
    found = _of_options(request, mean) if request.recipe is None else _of_recipe(request, request.recipe, mean)
    eta = found.recipe.eta
    return replace(found, steps=len(eta)) if isinstance(eta, tuple) and found.steps is None else found


def _of_recipe(request: ExportRequest, name: str, mean: MeanCheckpoint) -> Wanted:
    besides = decided_by_recipe(request.sampler, request.covariance, request.clip_x0, request.eps_scale)
    refuse_beside_recipe(besides, name)
    recipe, file = named_recipe(name, mean)
    if file is None:
        return Wanted(recipe, request.steps)
    if file.guidance != 1:
        raise UsageError(
            f"{name} was tuned at guidance {file.guidance:g}, and an exported scheduler guides nothing; tune without "
            "--guidance, or sample it with diffcov"
        )
    return Wanted(recipe, request.steps or file.steps)


def _of_options(request: ExportRequest, mean: MeanCheckpoint) -> Wanted:
    chosen, schedule = request.sampler, mean.model.schedule
    grid = grid_name(chosen.grid)
    if grid == OPTIMAL:
        raise UsageError(
            "--grid optimal is searched for each number of steps, and an exported scheduler makes its times by a rule; "
            "list those that diffcov trajectory found: --grid 1,250,..."
        )
    named = grid in NAMED
    if named and request.steps is not None:
        raise UsageError(
            f"--steps {request.steps} belongs to a --recipe or to listed times: with --grid {grid} a pipeline says how "
            "many steps it takes; leave it out"
        )
    choose = request.covariance == AUTO
    recipe = Recipe(
        solver=chosen.solver,
        covariance=NOTHING if choose else request.covariance,
        grid=grid if named else pick_grid(grid, schedule, request.steps, start=chosen.start).times,
        start=chosen.start,
        share=chosen.share,
        eps_scale=request.eps_scale,
        clip_x0=request.clip_x0,
        **chosen.of_solver,
    )
    choose = choose and make_solver(recipe.solver, **recipe.of_solver).covers
    return Wanted(recipe, None if named else len(recipe.grid), choose)
