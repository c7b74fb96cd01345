"""Everything on the embedded digits: train, measure, fit, tune, compare."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from diffcov.covariance.registry import COVARIANCES, heads
from diffcov.engines.distances.frechet import require_enough
from diffcov.engines.training.presets import HEAD, PRESETS, head_budget
from diffcov.engines.tuning.halving import Plan
from diffcov.errors import InputError, Interrupted
from diffcov.nets.classifier import FEATURES
from diffcov.statistics.registry import load_all
from diffcov.store.artifact import header_values, read_header
from diffcov.store.checkpoint import MeanCheckpoint, load_mean, read_mean
from diffcov.store.comparison import load_result
from diffcov.store.recipes import load_recipe
from diffcov.store.run import RunFolder
from diffcov.store.state import read_progress
from diffcov.study.asked import typed
from diffcov.study.compare import Comparison, compare
from diffcov.study.curves_sweep import CALLS
from diffcov.study.estimate import estimate_var
from diffcov.study.fit import fit_var_head
from diffcov.study.listener import Listener, Silent
from diffcov.study.requests.demo import DemoRequest
from diffcov.study.requests.judge import CompareRequest
from diffcov.study.requests.measure import EstimateRequest
from diffcov.study.requests.shared import Place, Running
from diffcov.study.requests.train import (
    BudgetChoice,
    FitRequest,
    HeadBudgetChoice,
    HeadChoice,
    NetworkChoice,
    ResumeChoice,
    TrainRequest,
)
from diffcov.study.requests.tune import TuneRequest
from diffcov.study.samplers import changed_since
from diffcov.study.train import train_mean
from diffcov.study.tune import tune
from diffcov.study.whole import Whole, whole_task

__all__ = ["FEW", "STEPS", "TUNED_STEPS", "demo"]

STEPS = (5, 10, 50)
TUNED_STEPS = 10
"""The number of steps that the best sampler is searched for."""
FEW = 32
"""Samples of every candidate of that search."""
TRAINED = 3
"""Calls that an image of a training costs: one forward, and about two on the way back."""
DATA = "digits"
DIGITS = 1500
"""Images of the digits that are trained on, for the plan."""


def demo(request: DemoRequest, listener: Listener | None = None) -> Comparison:
    """The five commands in their order, every covariance and head with the same seeds.

    Typed again after it was stopped, it goes on where it stopped and leaves alone what is done. A mean that is trained
    for longer has everything after it made anew.

    Raises:
        UsageError: fewer samples than the classifier's features have dimensions.
        InputError: the run holds something of another mean than the one that it holds.
        OutputError: the run holds what no demonstration left there.
        Interrupted: the listener wanted to stop a training.
    """
    require_enough(request.count, FEATURES, "samples")  # before minutes of training, not after
    planned = _planned(request)
    _refuse_another_mean(RunFolder(request.where))
    with whole_task(listener or Silent(), "demo", sum(planned.values())) as whole:
        again = shlex.join(typed("demo", replace(request, force=False)))
        try:
            return _all_of_it(request, whole, planned)
        except Interrupted as error:
            what = str(error).partition(";")[0]
            raise Interrupted(f"{what}; everything is saved, go on with: {again}") from error
        except KeyboardInterrupt:
            whole.note(f"what is done is kept; go on with: {again}")
            raise


def _refuse_another_mean(run: RunFolder) -> None:
    """Leave alone a run of one's own, whatever is asked for: a mean that was not trained on the embedded digits."""
    if run.state("mean").is_file():
        data = read_progress(run.state("mean"))[0]["data"]
    elif run.mean.is_file():
        data = read_mean(run.mean).training.get("settings", {}).get("data", "images of others")
    else:
        return
    if data != DATA:
        raise InputError(
            f"{run.path} holds a mean of {data}, and the demonstration trains one of its own on the embedded digits; "
            "give it another --run, or none"
        )


def _planned(request: DemoRequest) -> dict[str, float]:
    """Calls of the network, an image each, that each command will take, about: once it runs, it knows better."""
    preset = PRESETS["digits"]
    trained = TRAINED * preset.training.batch_size
    cells = len(COVARIANCES) * len(CompareRequest().solvers) + len(CompareRequest().samplers)
    heads_most = request.head_iterations or head_budget(DIGITS, HEAD.batch_size).iterations or 0
    return {
        "train-mean": trained * (request.iterations or preset.iterations),
        "estimate-var": CALLS,
        "fit-var-head": TRAINED * HEAD.batch_size * heads_most,
        "tune": TUNED_STEPS * Plan(few=FEW, final=request.count).most,
        "compare": sum(STEPS) * (cells * request.count + CompareRequest().images),
    }


def _all_of_it(request: DemoRequest, whole: Whole, planned: Mapping[str, float]) -> Comparison:
    """The five commands, each told as its share of the whole."""
    say, run = whole, RunFolder(request.where)
    place, running = Place(run=run.path), Running(device=request.device)
    anew = request.force
    say.note("1/5 train-mean")
    with whole.stage(planned["train-mean"], iterations=TRAINED * PRESETS["digits"].training.batch_size) as told:
        if _is_trained(run.state("mean"), request.iterations, anew):
            say.note(f"{run.mean} is there")
        else:
            choice = NetworkChoice(data=DATA)
            again, budget = _again(run.state("mean"), anew), BudgetChoice(request.iterations)
            train_mean(TrainRequest(place, choice, resume=again, budget=budget, device=request.device), told)
            anew = True
    mean = load_mean(run.mean)
    statistics = [kind for kind in load_all() if kind.unasked(mean.spec.reading.data)]
    anew = anew or not _are_of(mean, [run.ingredient(kind) for kind in load_all()])
    say.note("2/5 estimate-var")
    with whole.stage(planned["estimate-var"], images=1) as told:
        if not anew and all(run.ingredient(kind).is_file() for kind in statistics):
            say.note("all of it is there")
        else:
            table, spectrum = request.samples, request.knot_samples
            sizes = EstimateRequest(place, samples=table, knot_samples=spectrum, force=anew, running=running)
            estimate_var(sizes, told)
    anew = anew or not _is_fit_of(mean, run.state("heads"))
    say.note("3/5 fit-var-head")
    with whole.stage(planned["fit-var-head"], iterations=TRAINED * HEAD.batch_size) as told:
        if _is_trained(run.state("heads"), request.head_iterations, anew):
            say.note(f"heads {', '.join(run.heads())} are there")
        else:
            every = HeadChoice(kind=tuple(heads()))
            again, budget = _again(run.state("heads"), anew), HeadBudgetChoice(request.head_iterations)
            fit_var_head(FitRequest(place, every, resume=again, budget=budget, device=request.device), told)
    recipe = run.recipe(TUNED_STEPS)
    anew = anew or (recipe.is_file() and bool(changed_since(load_recipe(recipe), run, mean)))
    say.note(f"4/5 tune, the best sampler of {TUNED_STEPS} steps")
    with whole.stage(planned["tune"]) as told:
        if recipe.is_file() and not anew:
            say.note(f"{recipe} is there")
        else:
            asked = TuneRequest(place, (TUNED_STEPS,), few=FEW, count=request.count, force=anew, running=running)
            tune(asked, told)  # on other noise than the comparison's
    anew = anew or not _was_compared(run, mean)
    say.note("5/5 compare, every covariance and sampler with the same seeds")
    with whole.stage(planned["compare"]) as told:
        return compare(CompareRequest(place, steps=STEPS, count=request.count, force=anew, running=running), told)


def _is_trained(state: Path, iterations: int | None, anew: bool) -> bool:
    """Whether a training has come to its end, and no longer one was asked for."""
    if anew or not state.is_file():
        return False
    _, progress = read_progress(state)
    return progress.finished and (iterations is None or iterations <= progress.iteration)


def _again(state: Path, anew: bool) -> ResumeChoice:
    """A training that has begun goes on."""
    return ResumeChoice(force=anew, resume=state.is_file() and not anew)


def _are_of(mean: MeanCheckpoint, paths: Iterable[Path]) -> bool:
    """Whether those of the artefacts that are there were made with this mean, and not with one that it has replaced."""
    there = [path for path in paths if path.is_file()]
    return all(mean.trunk.owns(header_values(path, read_header(path))["trunk"]) for path in there)


def _is_fit_of(mean: MeanCheckpoint, state: Path) -> bool:
    """Whether a fit that has begun, if one has, is of this mean."""
    return not state.is_file() or mean.trunk.owns(read_progress(state)[0]["trunk"])


def _was_compared(run: RunFolder, mean: MeanCheckpoint) -> bool:
    """Whether there is a whole comparison of what the run holds now.

    Parts of one that was stopped may be of what has been replaced since; those that are not are read all the same.
    """
    try:
        found = load_result(run.comparison)
    except ValueError:
        return False
    if found is None or found["mean"]["digest"] != mean.digest:
        return False
    made_of = {file: digest for one in found["covariances"].values() for file, digest in one["made_of"].items()}
    return all(read_header(run.path / file)["digest"] == digest for file, digest in made_of.items())
