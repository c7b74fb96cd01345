"""What an evaluation is of: covariances along one grid by options, or the one sampler of a recipe."""

from __future__ import annotations

from dataclasses import dataclass

from diffcov.diffusion.grid import Grid
from diffcov.engines.meters.likelihood import check_bounded
from diffcov.engines.recipe import NOTHING, Recipe
from diffcov.errors import UsageError
from diffcov.gaussian.start import GaussianStart
from diffcov.solver.base import Solver
from diffcov.store.checkpoint import MeanCheckpoint
from diffcov.store.run import RunFolder
from diffcov.study.choice import Use, choose
from diffcov.study.grids import OPTIMAL, check_made_for, grid_name, open_optimal, pick_grid
from diffcov.study.known import Known, known_covariances, known_solver, known_start
from diffcov.study.listener import Listener
from diffcov.study.planning import steps_along, usual_steps
from diffcov.study.requests.judge import CALIBRATION, NLL, ODE, EvaluateRequest
from diffcov.study.requests.shared import ViewChoice, decided_by_recipe, refuse_beside_recipe
from diffcov.study.requests.words import ALL
from diffcov.study.samplers import Samplers, recipe_of_run

__all__ = ["Judged", "judged"]


@dataclass(frozen=True)
class Judged:
    """What is about to be measured.

    Attributes:
        known: the covariances, by name.
        solver: of samples, and of the chain that is bounded.
        grid: the visited times.
        view: what samples see the mean through.
        share: of the covariance, in samples.
        recipe: what all of that comes from, if it does not come from options.
        start: of samples; None: noise.
    """

    known: dict[str, Known]
    solver: Solver
    grid: Grid
    view: ViewChoice
    share: float
    recipe: Recipe | None = None
    start: GaussianStart | None = None


def judged(request: EvaluateRequest, run: RunFolder, mean: MeanCheckpoint, say: Listener) -> Judged:
    """What a request asks to be judged.

    Raises:
        UsageError: options that contradict each other, no such recipe, a recipe beside options that it decides, or a
            metric that has no meaning for the solver or for the recipe.
        InputError: something that is needed is missing, damaged or of another mean.
    """
    if request.recipe is not None:
        return _of_recipe(request.recipe, request, run, mean)
    chosen = request.sampler
    solver = known_solver(run, chosen, mean)
    if NLL in request.metrics:
        check_bounded(solver)
    for metric in (NLL, ODE):
        if metric in request.metrics and chosen.start is not None:
            raise UsageError(
                f"--metrics {metric} means nothing for --start {chosen.start}: a likelihood is that of a walk which "
                "begins with noise; leave one out"
            )
    known, grid = _chosen(request, run, mean, solver, say)
    start = None if chosen.start is None else known_start(run, mean)
    return Judged(known, solver, grid, request.view, chosen.share, start=start)


def _of_recipe(name: str, request: EvaluateRequest, run: RunFolder, mean: MeanCheckpoint) -> Judged:
    """The sampler that ``sample --recipe`` draws with, in the steps that are asked for, else in those it is for."""
    view, covariances = request.view, ",".join(request.covariances)
    besides = decided_by_recipe(request.sampler, covariances, view.clip_x0, view.eps_scale)
    refuse_beside_recipe(besides, name)
    recipe, steps = recipe_of_run(name, run, mean)
    samplers = Samplers(run, mean, view.guidance)
    solver = samplers.solver(recipe)
    for metric in request.metrics:
        why = _why_not(metric, recipe, solver)
        if why is not None:
            raise UsageError(f"--metrics {metric} means nothing for the recipe {name}: {why}; leave it out")
    grid = recipe.times(mean.model.schedule, request.steps or steps or usual_steps(mean.model.schedule))
    known = samplers.known(recipe.covariance)
    known.covariance.check_times(grid.times)
    seen = ViewChoice(recipe.clip_x0, recipe.eps_scale, view.guidance)
    return Judged({recipe.covariance: known}, solver, grid, seen, recipe.share, recipe, samplers.start(recipe))


def _why_not(metric: str, recipe: Recipe, solver: Solver) -> str | None:
    """Why a metric has no meaning for a recipe; None if it has one."""
    if metric == ODE:
        return "the probability flow is the mean's own, and no solver, covariance or scale has a part in it"
    if metric == CALIBRATION and recipe.covariance == NOTHING:
        return "it has no covariance to calibrate"
    if metric == NLL:
        if solver.why_no_bound is not None:
            return f"{solver.label} has no bound on the likelihood ({solver.why_no_bound})"
        if recipe.start is not None:
            return "the bound is that of a chain which begins with noise"
        if (recipe.share, recipe.eps_scale) != (1, 1):
            return "the bound is that of the whole covariance and of eps_hat as predicted, and it changes them"
    return None


def _chosen(
    request: EvaluateRequest, run: RunFolder, mean: MeanCheckpoint, solver: Solver, say: Listener
) -> tuple[dict[str, Known], Grid]:
    """The covariances and the grid, each of which may depend on the other."""
    schedule, name, names = mean.model.schedule, grid_name(request.sampler.grid), request.covariances
    steps = steps_along(name, request.steps, schedule)
    optimal = None
    if name == OPTIMAL:
        if ALL in names or len(names) > 1:
            raise UsageError(
                f"optimal times belong to one covariance, and --covariance {','.join(names)} was given; name one, or "
                "list the times"
            )
        names = (choose(run, names[0], mean).name,)
        optimal = open_optimal(name, run, names[0], mean.trunk)
    grid = pick_grid(name, schedule, steps, optimal, request.sampler.start)
    known = known_covariances(run, names, mean, grid.times, say, Use(solver, grid.K, grid.name, request.view))
    for one in known.values():
        check_made_for(optimal, one.covariance, request.view.clip_x0, request.view.guidance)
    return known, grid
