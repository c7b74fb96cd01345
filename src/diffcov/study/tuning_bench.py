"""One search for the best sampler of K steps: draws, measures, keeps, and writes down what was seen."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from diffcov.engines.distances.features import features_of
from diffcov.engines.recipe import Recipe
from diffcov.engines.sampler import Sampler
from diffcov.engines.sampling import generate
from diffcov.engines.tuning.halving import Candidate, Enough, Plan, Search
from diffcov.engines.tuning.judge import Yardstick
from diffcov.engines.tuning.space import Space
from diffcov.errors import InputError, NonFiniteError, UsageError
from diffcov.processes.base import current
from diffcov.store.parts import Part, PartsFolder
from diffcov.store.recipes import RecipeFile
from diffcov.study.asked import typed
from diffcov.study.drawn import Against
from diffcov.study.listener import Listener, Progress
from diffcov.study.requests.tune import TuneRequest
from diffcov.study.samplers import Samplers
from diffcov.version import __version__

__all__ = ["NOISE", "TuningBench"]

VERSION = 3
"""Version of what is kept of a candidate. Raise it when a formula changes, or the noise; 1 drew that of samples."""
NOISE = "tune"
"""Purpose of the noise that candidates are drawn with, which on no seed draws what ``sample`` and ``compare`` draw."""
FAILED = "failed"
"""What a kept part says instead of features: why there are none."""


@dataclass
class TuningBench:
    """The search of one K.

    Attributes:
        request: what was asked for.
        samplers: what the run can draw with.
        against: where samples are compared.
        keeper: of the features of every candidate.
        K: number of steps.
        until: when the search ends at the latest, on the monotonic clock; None has no end.
        say: told how far it is.
        choosing: measures the candidates.
        judging: measures the finalists, by images that chose nothing.
    """

    request: TuneRequest
    samplers: Samplers
    against: Against
    keeper: PartsFolder
    K: int
    until: float | None
    say: Listener
    choosing: Yardstick
    judging: Yardstick
    fresh: int = field(default=0, init=False)
    """Samples that were drawn now, and not read."""
    _begun: float = field(default_factory=time.monotonic, init=False)
    _drawn: dict[str, int] = field(default_factory=dict, init=False)
    _calls: dict[str, int] = field(default_factory=dict, init=False)
    _without: dict[Recipe, str] = field(default_factory=dict, init=False)

    @property
    def drawn(self) -> int:
        """Samples that the search has asked for, those that were kept from an earlier one included."""
        return sum(self._drawn.values())

    def found(self, space: Space, settings: dict[str, Any]) -> RecipeFile:
        """The recipe and its evidence.

        Raises:
            NonFiniteError: no candidate could be drawn.
        """
        plan = Plan(few=self.request.few, final=self.request.count)
        with self.say.progress(f"{self.K} steps", plan.most, "samples") as bar:
            search = Search(space, plan, lambda recipe, count: self._distance(recipe, count, search, bar))
            try:
                judged = self._finals(search.run(), search.published(), bar)
            except KeyboardInterrupt:
                self.say.note(f"{self.drawn:,} samples are kept; the same command goes on with them")
                raise
            bar.update(self.fresh, total=self.fresh)
        if not judged:
            why = next(iter(self._without.values()), "there was none")
            raise NonFiniteError(f"no candidate of {self.K} steps could be drawn: {why}")
        won = judged[0]
        if self._without:
            self.say.note(f"{len(self._without)} of {len(search.found)} candidates could not be drawn")
        recipe = Recipe.from_dict(won["recipe"])
        self.say.note(
            f"{self.K} steps: {recipe.label}: {won['distance']:.4g} +- {won['stderr']:.2g} on fresh noise, of "
            f"{len(search.found)} tried with {self.drawn} samples"
        )
        return RecipeFile(
            recipe, self.K, self.samplers.mean.digest, self.samplers.made_of(recipe), self.request.guidance,
            self._evidence(search, judged, settings),
        )  # fmt: skip

    def _distance(self, recipe: Recipe, count: int, search: Search, bar: Progress) -> float:
        """The distance that chooses; infinite for a recipe that cannot be drawn."""
        if search.best is not None and self._late(search.plan):
            raise Enough
        features = self._features(recipe, count, self.samplers.seed)
        found = torch.inf if features is None else current().agreed(self.choosing.distance(features))
        best = search.best
        bar.update(
            self.fresh,
            "" if best is None else f"best of {-best.rank[0]} samples: {best.recipe.label} {best.rank[1]:.4g}",
            self._expected(search),
        )
        return found

    def _expected(self, search: Search) -> float:
        """Samples to be drawn in all, at this rate until the time is over."""
        plan, kept = search.plan, self.drawn - self.fresh
        most = float(plan.most - kept)
        if self.until is None or not self.fresh:
            return most
        in_time = self.fresh * (self.until - self._begun) / (time.monotonic() - self._begun)
        return min(most, max(self.fresh + plan.judging, in_time))

    def _late(self, plan: Plan) -> bool:
        """Whether what is left until its end is what the finals take; they get half of all the time at most."""
        if self.until is None:
            return False
        reserved = min(plan.judging * self._each, (self.until - self._begun) / 2)
        return current().agreed(time.monotonic() > self.until - reserved)

    @property
    def _each(self) -> float:
        """Seconds a sample, at the rate so far; 0 before any."""
        return (time.monotonic() - self._begun) / self.fresh if self.fresh else 0.0

    def _no_time(self, count: int) -> bool:
        """Whether so many samples would end after its end."""
        until = self.until
        return until is not None and current().agreed(time.monotonic() + count * self._each > until)

    def _finals(self, finalists: list[Candidate], published: list[Candidate], bar: Progress) -> list[dict[str, Any]]:
        """Finalists, and beside them the best of the literature, on noise and images that chose nothing; best first.

        Those for whom there is no time any more are left out, the first excepted.
        """
        out: list[dict[str, Any]] = []
        if self._no_time(self.request.count):
            self.say.warn(
                f"there is time for one finalist alone: {self.request.count} samples take "
                f"{self.request.count * self._each:.0f} s; give more --minutes, or a smaller --count"
            )
        for one in [*finalists, *(other for other in published if other not in finalists)]:
            if out and self._no_time(self.request.count):
                break
            features = self._features(one.recipe, self.request.count, self.samplers.seed + 1)
            if features is None:
                continue
            found = current().agreed(self.judging.distance(features))
            out.append({
                "recipe": one.recipe.as_dict(), "summary": one.recipe.label, "finalist": one in finalists,
                "distance": found, "stderr": self.judging.spread(features), "count": len(features),
            })  # fmt: skip
            bar.update(self.fresh, f"finalist {one.recipe.label} {found:.4g}")
        return sorted(out, key=lambda judged: judged["distance"])

    def _features(self, recipe: Recipe, count: int, seed: int) -> Tensor | None:
        """Features of images 0..count-1 of a seed, (count, F), read if they are kept; None if it cannot be drawn."""
        try:
            sampler = self.samplers.sampler(recipe, self.K, seed)
        except (UsageError, InputError) as error:
            self._leave_out(recipe, str(error))
            return None
        space = self.against.space.digest or self.against.space.name
        found: list[Tensor] = []
        for first, last in _pieces(self.request.few, count):
            identity = {
                "version": VERSION, "sampler": sampler.as_dict(), "noise": NOISE, "first": first, "last": last,
                "space": space,
            }  # fmt: skip
            name = f"{self.K}-{sampler.digest[:20]}-{space[:8]}-{first}-{last}"
            kept = self.keeper.part(name, identity)
            if kept is None:
                kept = self._draw(sampler, first, last)
                self.keeper.save_part(name, identity, kept)
                self.fresh += last - first
            self._drawn[name] = last - first
            self._calls[name] = (last - first) * self.K * sampler.denoiser.calls
            if FAILED in kept.values:
                self._leave_out(recipe, kept.values[FAILED])
                return None
            found.append(kept.tensors["features"])
        return torch.cat(found)

    def _draw(self, sampler: Sampler, first: int, last: int) -> Part:
        """Features of some images, or why there are none."""
        try:
            batches = generate(
                sampler, last - first, first=first, batch_size=self.request.batch_size, purpose=NOISE
            )  # fmt: skip
            return Part({"features": features_of(self.against.space, batches)}, {})
        except (UsageError, InputError, NonFiniteError) as error:
            return Part({"features": torch.zeros(0)}, {FAILED: str(error)})

    def _leave_out(self, recipe: Recipe, why: str) -> None:
        """Remember why there is nothing of a recipe; a reason is told once."""
        if why not in self._without.values():
            self.say.note(f"without {recipe.label} in {self.K} steps: {why}")
        self._without[recipe] = why

    def _evidence(self, search: Search, judged: list[dict[str, Any]], settings: dict[str, Any]) -> dict[str, Any]:
        return {
            "diffcov_version": __version__, "command": typed("tune", self.request), "settings": settings,
            "noise": {"purpose": NOISE, "chosen_on": self.samplers.seed, "judged_on": self.samplers.seed + 1},
            "features": self.against.space.name, "reference": self.against.record,
            "samples_drawn": self.drawn, "samples_at_most": search.plan.most,
            "network_calls": sum(self._calls.values()), "tried": len(search.found),
            "call": self.samplers.mean.model.caller.way.as_dict(), "finalists": judged,
            "candidates": [self._candidate(one) for one in sorted(search.found.values(), key=lambda one: one.rank)],
        }  # fmt: skip

    def _candidate(self, one: Candidate) -> dict[str, Any]:
        told = {str(count): value if one.drawable else None for count, value in one.distance.items()}
        why = {"left_out": self._without[one.recipe]} if one.recipe in self._without else {}
        return {"summary": one.recipe.label, "recipe": one.recipe.as_dict(), "distance": told, **why}


def _pieces(few: int, count: int) -> list[tuple[int, int]]:
    """0..few, few..2 few, 2 few..4 few, ... up to count: what is drawn is never drawn again."""
    ends = [0, few]
    while ends[-1] < count:
        ends.append(2 * ends[-1])
    return [(first, min(last, count)) for first, last in pairwise(ends)]
