"""The best sampler of K steps, found by trying: a recipe for each number of steps, with its evidence."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from diffcov.covariance.registry import COVARIANCES, PREFERENCE
from diffcov.denoiser.base import View
from diffcov.denoiser.through import through
from diffcov.diffusion.grids import GRIDS, even, make_grid
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.distances.frechet import Gaussian
from diffcov.engines.recipe import NOTHING, Recipe
from diffcov.engines.tuning.halving import Plan
from diffcov.engines.tuning.judge import Yardstick
from diffcov.engines.tuning.space import Space
from diffcov.errors import InputError, OutputError, UsageError
from diffcov.solver.registry import SOLVERS
from diffcov.store.checkpoint import MeanCheckpoint
from diffcov.store.parts import PartsFolder
from diffcov.store.recipes import RecipeFile, load_recipe, save_recipe
from diffcov.store.run import RunFolder
from diffcov.study.drawn import Against
from diffcov.study.judging import classes_like_data, open_against
from diffcov.study.known import known_covariance, warn_of_view
from diffcov.study.listener import Listener, Silent
from diffcov.study.opening import open_mean
from diffcov.study.owning import owning
from diffcov.study.quickest import Work, choose_way
from diffcov.study.requests.tune import TuneRequest
from diffcov.study.samplers import Samplers, changed_since
from diffcov.study.tuning_bench import NOISE, TuningBench
from diffcov.study.whole import whole_task

__all__ = ["Tuned", "search_space", "tune"]


@dataclass(frozen=True)
class Tuned:
    """The recipes that were found.

    Attributes:
        files: by number of steps.
        paths: where they are.
        seconds: that all of it took.
    """

    files: Mapping[int, RecipeFile]
    paths: Mapping[int, Path]
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "recipes": {str(K): {**one.as_dict(), "path": str(self.paths[K])} for K, one in self.files.items()},
            "seconds": self.seconds,
        }


@owning("tune", lambda request: [f"recipe-{K}" for K in sorted(set(request.steps))])
def tune(request: TuneRequest, listener: Listener | None = None) -> Tuned:
    """Search; the features of every candidate are kept, so that a search that was stopped goes on where it stopped.

    A recipe that was found with the same settings is left as it is.

    Raises:
        UsageError: options that contradict each other, or fewer samples than the features have dimensions.
        InputError: no mean, or something that is needed is missing, damaged or of another mean.
        OutputError: a recipe of other settings is there already.
        NonFiniteError: no candidate gave samples that are numbers.
    """
    say, started = listener or Silent(), time.monotonic()
    run = RunFolder(request.place.run)
    mean = open_mean(request.place, request.running, say, request.batch_size)
    schedule, wanted = mean.model.schedule, sorted(set(request.steps))
    for K in wanted:
        even(schedule.T, K)  # a number of steps that cannot be is refused before any work
    seen = through(mean.model, View(guidance=request.guidance))  # and so is a guidance that the mean does not allow
    for name in request.covariances:
        known_covariance(run, name, mean, ())  # and one that was named and is not there
    for K in wanted:
        _there(run, K, _told(request), None, request.force)
    against = open_against(request.features, run, mean, request.count, say, request.data, request.pictures)
    classes = classes_like_data(run, mean, say, request.data, request.pictures)
    samplers = Samplers(run, mean, request.guidance, classes, request.seed)
    space = search_space(samplers, say, request.covariances, starts=request.starts)
    settings = _settings(request, against, space)
    there = {K: _there(run, K, settings, mean, request.force) for K in wanted}
    yardsticks = _yardsticks(against, say)
    missing = [K for K in wanted if there[K] is None]
    calls = Plan(few=request.few, final=request.count).most * seen.calls
    seconds = None if request.minutes is None else 60 * request.minutes
    work = Work(request.batch_size, sum(missing) * calls / request.batch_size, seconds)
    choose_way(mean.model, work, request.running.compile, say)
    ends = None if request.minutes is None else started + 60 * request.minutes
    files = {K: found for K, found in there.items() if found is not None}
    for K, kept in files.items():
        say.note(f"{K} steps: {run.recipe(K)} is there: {kept.recipe.label}")
    with whole_task(say, "tune", sum(missing) * calls) as whole:
        for number, K in enumerate(missing):
            now = time.monotonic()
            until = None if ends is None else now + (ends - now) / (len(missing) - number)
            keeper = PartsFolder(run.tuning, force=True)
            with whole.stage(K * calls, samples=K * seen.calls) as told:
                bench = TuningBench(request, samplers, against, keeper, K, until, told, *yardsticks)
                files[K] = bench.found(replace(space, grids=_grids(schedule, K), steps=K), settings)
            save_recipe(run.recipe(K), files[K])
    return Tuned({K: files[K] for K in wanted}, {K: run.recipe(K) for K in wanted}, time.monotonic() - started)


def search_space(samplers: Samplers, say: Listener, only: Collection[str] = (), *, starts: bool = True) -> Space:
    """What a run can be searched over; what it lacks is told.

    Args:
        samplers: of the run.
        say: told.
        only: covariances to search over beside none; all that the run holds if none are named.
        starts: whether walks that start below T are among it, where the run knows the Gaussian of its images.
    """
    return Space(
        _covariances(samplers, say, only), _solvers(samplers, say), last=_last(samplers, say) if starts else None
    )


def _last(samplers: Samplers, say: Listener) -> int | None:
    """T, where the run knows the Gaussian of its images; None where it does not."""
    try:
        _ = samplers.gaussian_start
    except InputError as error:
        say.note(f"without starts below T: {error}")
        return None
    return samplers.mean.model.schedule.T


def _covariances(samplers: Samplers, say: Listener, only: Collection[str]) -> tuple[str, ...]:
    """Those that the run can build, in the order of preference; not a learned range, which is DDPM's."""
    held = [name for name, lacking in samplers.run.available().items() if lacking is None]
    known = []
    for name in dict.fromkeys((*PREFERENCE, *COVARIANCES)):
        if name not in held or COVARIANCES[name].reads_range or (only and name not in (*only, NOTHING)):
            continue
        try:
            known.append(samplers.known(name))
        except InputError as error:
            say.note(f"without {name}: {error}")
    warn_of_view(known, True, samplers.guidance, say)
    return tuple(one.covariance.name for one in known)


def _solvers(samplers: Samplers, say: Listener) -> tuple[str, ...]:
    """Those that the run can build."""
    known = []
    for name in SOLVERS:
        try:
            samplers.solver(Recipe(name))
        except InputError as error:
            say.note(f"without {name}: {error}")
        else:
            known.append(name)
    return tuple(known)


def _grids(schedule: NoiseSchedule, K: int) -> tuple[str, ...]:
    """The named grids that visit different times in K steps, the first of those that are the same."""
    found: dict[tuple[int, ...], str] = {}
    for name in GRIDS:
        try:
            found.setdefault(make_grid(name, schedule, K).times, name)
        except UsageError:
            continue  # a rule that has no K different times
    return tuple(found.values())


def _told(request: TuneRequest) -> dict[str, Any]:
    """Those settings of a search that are known before any work."""
    return {name: getattr(request, name) for name in ("few", "count", "seed", "guidance", "minutes")}


def _settings(request: TuneRequest, against: Against, space: Space) -> dict[str, Any]:
    """What decides a search beside the run's own files, as plain values."""
    return {
        **_told(request),
        "features": against.space.name, "features_digest": against.space.digest, "reference": against.record,
        "covariances": list(space.covariances), "solvers": list(space.solvers), "noise": NOISE,
        **({} if space.last is None else {"starts_below": space.last}),
    }  # fmt: skip


def _there(
    run: RunFolder, K: int, settings: dict[str, Any], mean: MeanCheckpoint | None, force: bool
) -> RecipeFile | None:
    """The recipe that is there, found with these settings and with what the run holds now; None if there is none.

    Without a mean, what the run holds is not looked at.

    Raises:
        OutputError: one that was found otherwise.
        InputError: a damaged one.
    """
    path = run.recipe(K)
    if force or not path.is_file():
        return None
    found = load_recipe(path)
    before = found.evidence.get("settings", {})
    other = [key for key, value in settings.items() if before.get(key) != value]
    other += [] if mean is None else changed_since(found, run, mean)
    if other:
        raise OutputError(
            f"{path} is there and was tuned with another {', '.join(other)}; use --force to tune again, or other "
            "--steps"
        )
    return found


def _yardsticks(against: Against, say: Listener) -> tuple[Yardstick, Yardstick]:
    """Two halves of the reference: one chooses, the other judges the finalists."""
    known = against.reference
    if known.features is None or len(known.features) < 4 * against.space.dims:
        say.warn("the reference holds too few images to keep half of them for the finalists: both see the same")
        return Yardstick(known.gaussian), Yardstick(known.gaussian)
    half = len(known.features) // 2
    return Yardstick(Gaussian.of(known.features[:half])), Yardstick(Gaussian.of(known.features[half:]))
