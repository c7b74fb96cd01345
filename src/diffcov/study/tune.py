"""The best sampler of K steps, found by trying: a recipe for each number of steps, with its evidence."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffcov.covariance.registry import COVARIANCES, PREFERENCE
from diffcov.engines.distances.features import features_of
from diffcov.engines.distances.frechet import Gaussian
from diffcov.engines.recipe import LITERATURE, Recipe
from diffcov.engines.sampling import generate
from diffcov.engines.tuning.halving import Candidate, Plan, Search
from diffcov.engines.tuning.judge import Yardstick
from diffcov.engines.tuning.space import Space
from diffcov.errors import OutputError
from diffcov.solver.registry import SOLVERS, load
from diffcov.statistics import registry as statistics
from diffcov.store.parts import Part, PartsFolder
from diffcov.store.recipes import RecipeFile, save_recipe
from diffcov.store.run import RunFolder
from diffcov.study.asked import typed
from diffcov.study.drawn import Against
from diffcov.study.judging import classes_like_data, open_against
from diffcov.study.listener import Listener, Progress, Silent
from diffcov.study.opening import open_mean
from diffcov.study.requests.tune import TuneRequest
from diffcov.study.samplers import Samplers
from diffcov.version import __version__

__all__ = ["Tuned", "tune"]

VERSION = 1
"""Version of what is kept of a candidate. Raise it when a formula changes."""


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


def tune(request: TuneRequest, listener: Listener | None = None) -> Tuned:
    """Search; the features of every candidate are kept, so that a search that was stopped goes on where it stopped.

    Raises:
        UsageError: options that contradict each other, or fewer samples than the features have dimensions.
        InputError: no mean, or something that is needed is missing, damaged or of another mean.
        OutputError: a recipe is there already.
        NonFiniteError: NaN or infinity in an image of a finalist.
    """
    say, started = listener or Silent(), time.monotonic()
    run = RunFolder(request.place.run)
    mean = open_mean(request.place, request.running)
    wanted = sorted(set(request.steps))
    for K in wanted:
        if run.recipe(K).is_file() and not request.force:
            raise OutputError(f"{run.recipe(K)} is there; use --force to tune again, or other --steps")
    against = open_against(request.features, run, mean, request.count, say, request.data)
    classes = classes_like_data(run, mean, say, request.data)
    samplers = Samplers(run, mean, request.guidance, classes, request.seed)
    space = _space(run)
    ends = None if request.minutes is None else started + 60 * request.minutes
    files = {}
    for number, K in enumerate(wanted, start=1):
        until = None if ends is None else time.monotonic() + (ends - time.monotonic()) / (len(wanted) - number + 1)
        bench = _Bench(request, samplers, against, PartsFolder(run.tuning, True), K, until)
        files[K] = bench.found(space, say)
        save_recipe(run.recipe(K), files[K])
    return Tuned(files, {K: run.recipe(K) for K in wanted}, time.monotonic() - started)


def _space(run: RunFolder) -> Space:
    """What the run holds the tables and heads for, in the order of preference; not a learned range, which is DDPM's."""
    held = [name for name, lacking in run.available().items() if lacking is None]
    buildable = [name for name in held if not COVARIANCES[name].reads_range]
    known = [name for name in (*PREFERENCE, *COVARIANCES) if name in buildable]
    solvers = [
        name for name in SOLVERS if all(run.ingredient(statistics.load(kind)).is_file() for kind in load(name).needs)
    ]  # fmt: skip
    return Space(tuple(dict.fromkeys(known)), tuple(solvers))


@dataclass
class _Bench:
    """One search: draws, measures, keeps, and writes down what was seen."""

    request: TuneRequest
    samplers: Samplers
    against: Against
    keeper: PartsFolder
    K: int
    until: float | None
    drawn: int = 0

    def found(self, space: Space, say: Listener) -> RecipeFile:
        """The recipe and its evidence."""
        choosing, judging = self._yardsticks(say)
        plan = Plan(few=self.request.few, more=4 * self.request.few, final=self.request.count)
        with say.progress(f"tune, {self.K} steps", None, "samples") as bar:
            search = Search(space, plan, lambda recipe, count: self._distance(recipe, count, choosing, bar, search))
            finalists = search.run()
            published = [one for one in search.found.values() if one.recipe in LITERATURE.values()]
            plain = sorted(published, key=lambda one: one.rank)[:2]
            judged = self._finals(finalists, plain, judging, bar)
        won = min((one for one in judged if one["finalist"]), key=lambda one: float(one["distance"]))
        recipe = Recipe.from_dict(won["recipe"])
        say.note(
            f"{self.K} steps: {recipe.label}: {won['distance']:.4g} +- {won['stderr']:.2g} on fresh noise, of "
            f"{len(search.found)} tried"
        )
        return RecipeFile(
            recipe, self.K, self.samplers.mean.digest, self.samplers.made_of(recipe), self.request.guidance,
            self._evidence(search, judged),
        )  # fmt: skip

    def _yardsticks(self, say: Listener) -> tuple[Yardstick, Yardstick]:
        """Two halves of the reference: one chooses, the other judges the finalists."""
        known = self.against.reference
        if known.features is None or len(known.features) < 4 * self.against.space.dims:
            say.warn("the reference holds too few images to keep half of them for the finalists: both see the same")
            return Yardstick(known.gaussian), Yardstick(known.gaussian)
        half = len(known.features) // 2
        return Yardstick(Gaussian.of(known.features[:half])), Yardstick(Gaussian.of(known.features[half:]))

    def _distance(self, recipe: Recipe, count: int, yardstick: Yardstick, bar: Progress, search: Search) -> float:
        if self.until is not None and time.monotonic() > self.until and len(search.found) > self.request.count // 250:
            raise StopIteration
        found = yardstick.distance(self._features(recipe, count, self.samplers.seed))
        best = search.best
        bar.update(self.drawn, "" if best is None else f"best so far: {best.recipe.label} {best.rank[1]:.4g}")
        return found

    def _finals(
        self, finalists: list[Candidate], plain: list[Candidate], yardstick: Yardstick, bar: Progress
    ) -> list[dict[str, Any]]:
        """Finalists, and beside them the best of the literature, on noise and images that chose nothing."""
        out = []
        for one in [*finalists, *(other for other in plain if other not in finalists)]:
            features = self._features(one.recipe, self.request.count, self.samplers.seed + 1)
            out.append({
                "recipe": one.recipe.as_dict(), "summary": one.recipe.label, "finalist": one in finalists,
                "distance": yardstick.distance(features), "stderr": yardstick.spread(features), "count": len(features),
            })  # fmt: skip
            bar.update(self.drawn, f"finalist {one.recipe.label} {out[-1]['distance']:.4g}")
        return out

    def _features(self, recipe: Recipe, count: int, seed: int) -> Tensor:
        """Features of images 0..count-1 of a seed, (count, F); those that are kept are read."""
        found: list[Tensor] = []
        for first, last in _pieces(self.request.few, count):
            sampler = self.samplers.sampler(recipe, self.K, seed)
            identity = {
                "version": VERSION, "sampler": sampler.as_dict(), "first": first, "last": last,
                "space": self.against.space.digest,
            }  # fmt: skip
            name = f"{self.K}-{sampler.digest[:20]}-{first}-{last}"
            kept = self.keeper.part(name, identity)
            if kept is None:
                batches = generate(sampler, last - first, first=first, batch_size=self.request.batch_size)
                kept = Part({"features": features_of(self.against.space, batches)}, {})
                self.keeper.save_part(name, identity, kept)
                self.drawn += last - first
            found.append(kept.tensors["features"])
        return torch.cat(found)

    def _evidence(self, search: Search, judged: list[dict[str, Any]]) -> dict[str, Any]:
        against = self.against
        return {
            "diffcov_version": __version__, "command": typed("tune", self.request), "seed": self.request.seed,
            "features": against.space.name, "features_digest": against.space.digest, "reference": against.record,
            "samples_drawn": self.drawn, "network_calls": self.drawn * self.K, "tried": len(search.found),
            "finalists": judged,
            "candidates": [
                {"summary": one.recipe.label, "recipe": one.recipe.as_dict(),
                 "distance": {str(count): value for count, value in one.distance.items()}}
                for one in sorted(search.found.values(), key=lambda one: one.rank)
            ],
        }  # fmt: skip


def _pieces(few: int, count: int) -> list[tuple[int, int]]:
    """0..few, few..4 few, 4 few..count: what is drawn is never drawn again."""
    ends = [end for end in (few, 4 * few) if end < count] + [count]
    return list(zip([0, *ends[:-1]], ends, strict=True))
