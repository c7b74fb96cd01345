"""From a request for samples to a sampler."""

from __future__ import annotations

from dataclasses import dataclass, replace

from diffcov.denoiser.base import View
from diffcov.denoiser.through import through
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.classes import Classes
from diffcov.engines.recipe import Recipe
from diffcov.engines.sampler import Sampler
from diffcov.errors import UsageError
from diffcov.store.checkpoint import MeanCheckpoint
from diffcov.store.comparison import RESULT
from diffcov.store.run import RunFolder
from diffcov.study.choice import Use, choose
from diffcov.study.grids import NAMED, OPTIMAL, check_made_for, grid_name, open_optimal, pick_grid, warn_of_beginning
from diffcov.study.known import known_covariance, known_solver, known_start, warn_of_view
from diffcov.study.listener import Listener
from diffcov.study.requests.draw import SampleRequest
from diffcov.study.requests.shared import decided_by_recipe, guided, refuse_beside_recipe
from diffcov.study.requests.words import ALL, AUTO, NONE, OFF
from diffcov.study.samplers import Samplers, recipe_of_run, tuned_recipe
from diffcov.study.scale import Scaling

__all__ = ["Plan", "chosen_classes", "plan_sampler", "planned", "steps_along", "usual_steps"]

STEPS = 50
"""Steps where nobody says how many."""
FEW = 25
"""Steps up to which samplers are farther apart than covariances, as a rule."""


def usual_steps(schedule: NoiseSchedule) -> int:
    """K where nobody says how many: :data:`STEPS`, or every time there is."""
    return min(STEPS, schedule.T)


def steps_along(grid: str, asked: int | None, schedule: NoiseSchedule) -> int | None:
    """K along a grid, by its name: what is asked for, else the usual; None for a list that says it by itself."""
    return usual_steps(schedule) if asked is None and grid in NAMED else asked


@dataclass(frozen=True)
class Plan:
    """How samples are going to be drawn.

    Attributes:
        sampler: how; its scale is not fitted yet.
        measured_there: whether its covariance was measured at its guidance.
        recipe: what it was made of, if it was not made of options.
    """

    sampler: Sampler
    measured_there: bool
    recipe: Recipe | None = None


def plan_sampler(request: SampleRequest, mean: MeanCheckpoint, listener: Listener) -> Sampler:
    """The sampler that a request would draw with; a scale that is to be fitted is fitted.

    Raises:
        UsageError, InputError, NonFiniteError: as for ``draw.draw_samples``.
    """
    run = RunFolder(request.place.run)
    scaling = Scaling(request.view.eps_scale, run, mean, request.batch_size, listener)
    return scaling.applied(planned(request, run, mean, scaling, listener).sampler)


def planned(request: SampleRequest, run: RunFolder, mean: MeanCheckpoint, scaling: Scaling, say: Listener) -> Plan:
    """The sampler of a request: that of its recipe, of the run's tuned one, or of the options.

    Raises:
        UsageError, InputError: as for ``draw.draw_samples``.
    """
    found = _recipe(request, run, mean, say)
    if found is not None:
        plan = _of_recipe(*found, request, run, mean, say)
    else:
        plan = _of_options(request, run, mean, scaling, say)
    if plan.sampler.start is None:
        warn_of_beginning([plan.sampler.grid], mean.model.schedule, say)
    return plan


def _recipe(
    request: SampleRequest, run: RunFolder, mean: MeanCheckpoint, say: Listener
) -> tuple[Recipe, int | None] | None:
    """The recipe that is asked for and the steps that it is for, if it is for some.

    Unasked, it is the one that was tuned for this number of steps, if nothing else is chosen.

    Raises:
        UsageError: a recipe beside options that it decides, or no such recipe.
        InputError: a file that is no recipe of this mean.
    """
    view = request.view
    besides = decided_by_recipe(request.sampler, request.covariance, view.clip_x0, view.eps_scale)
    if request.recipe == NONE or (request.recipe == AUTO and besides):
        return None
    if request.recipe != AUTO:
        refuse_beside_recipe(besides, request.recipe)
        return recipe_of_run(request.recipe, run, mean)
    K = request.steps or usual_steps(mean.model.schedule)
    found = tuned_recipe(run, mean, K, request.view.guidance, say)
    if found is None:
        if K <= FEW and not (run.comparison / RESULT).is_file() and not run.recipe(K).is_file():
            say.note(
                f"DDPM is taken unasked, and in {K} steps another sampler is often nearer to the data (--recipe unipc, "
                f"for one): diffcov tune --steps {K}{guided(request.view.guidance)} finds the best for this mean"
            )
        return None
    say.note(f"recipe: {found.recipe.label} (what tune found best at {K} steps; --recipe none for the plain sampler)")
    return found.recipe, found.steps


def _of_recipe(
    recipe: Recipe, steps: int | None, request: SampleRequest, run: RunFolder, mean: MeanCheckpoint, say: Listener
) -> Plan:
    """The sampler of a recipe in the steps that are asked for, else in those that it is for."""
    K = request.steps or steps or usual_steps(mean.model.schedule)
    classes = chosen_classes(request.classes, mean)
    samplers = Samplers(run, mean, request.view.guidance, classes, request.seed)
    made = samplers.sampler(recipe, K)
    known = samplers.known(recipe.covariance)
    warn_of_view([known], recipe.clip_x0, request.view.guidance, say)
    return Plan(_noisy(made, request), known.measured_at(request.view.guidance), recipe)


def _of_options(request: SampleRequest, run: RunFolder, mean: MeanCheckpoint, scaling: Scaling, say: Listener) -> Plan:
    chosen, view = request.sampler, request.view
    schedule, solver = mean.model.schedule, known_solver(run, chosen, mean)
    name = grid_name(chosen.grid)
    steps = steps_along(name, request.steps, schedule)
    K = steps if steps is not None else name.count(",") + 1
    choice = choose(run, request.covariance, mean, None if name == OPTIMAL else Use(solver, K, name, view))
    optimal = open_optimal(name, run, choice.name, mean.trunk)
    grid = pick_grid(name, schedule, steps, optimal, chosen.start)
    denoiser = through(mean.model, View(view.clip_x0, scaling.number, view.guidance))
    classes = chosen_classes(request.classes, mean)
    known = known_covariance(run, choice.name, mean, grid.times)
    check_made_for(optimal, known.covariance, view.clip_x0, view.guidance)
    if request.covariance == AUTO:
        say.note(f"covariance: {choice.name} ({choice.why}; choose another with --covariance)")
        nothing = not known.covariance.needs and not known.covariance.reads_range
        if nothing and solver.covers and not choice.measured:
            say.warn(
                "the run holds no variance table and no head; make them with diffcov estimate-var and diffcov "
                "fit-var-head"
            )
    if optimal is not None and solver.why_no_bound is not None:
        say.warn(f"these times have the best bound, and that is DDPM's: they mean little for {solver.label}")
    warn_of_view([known], view.clip_x0, view.guidance, say)
    sampler = Sampler.with_published_cap(
        denoiser,
        known.covariance,
        solver,
        grid,
        classes=classes,
        seed=request.seed,
        scale_fit=scaling.plan(),
        share=chosen.share,
        start=None if chosen.start is None else known_start(run, mean),
    )
    return Plan(_noisy(sampler, request), known.measured_at(view.guidance))


def _noisy(sampler: Sampler, request: SampleRequest) -> Sampler:
    """The sampler with the noise and the cap on the last of it that are asked for."""
    if request.noise is not None:
        sampler = replace(sampler, noise=request.noise)
    if request.last_noise == AUTO:
        return sampler
    return replace(sampler, cap_levels=None if request.last_noise == OFF else float(request.last_noise))


def chosen_classes(asked: tuple[str, ...] | None, mean: MeanCheckpoint) -> Classes | None:
    """The classes that were asked for by number or by the word for all; all that the mean knows if none were.

    Raises:
        UsageError: a class that the mean does not know, one twice, or any for a mean without classes.
    """
    known = mean.model.classes
    if asked is None:
        return Classes.all(known) if known else None
    if not known:
        raise UsageError(
            "--class was given, and this mean knows no classes; train one with diffcov train-mean --classes"
        )
    if ALL in asked:
        if len(asked) > 1:
            raise UsageError(f"--class {ALL} names every class already; found {','.join(map(str, asked))}")
        return Classes.all(known)
    return Classes.chosen([int(number) for number in asked], known)
