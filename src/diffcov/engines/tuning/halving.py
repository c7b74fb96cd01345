"""Successive halving: many candidates on few samples, more for those that stay, then what lies beside the best."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from diffcov.engines.recipe import LITERATURE, Recipe
from diffcov.engines.tuning.space import Space

__all__ = ["Candidate", "Enough", "Plan", "Search"]


class Enough(Exception):
    """There is no time to judge another candidate; whoever judges raises it, and the search ends with what it knows."""


@dataclass(frozen=True)
class Plan:
    """How much is spent, in samples.

    Attributes:
        few: samples of every candidate.
        rungs: (times ``few``, candidates that get so many), each of those that were nearest on the rung below.
        parents: candidates that are looked beside, round after round.
        steps: how far beside, in shares of the usual ranges.
        finalists: candidates that are judged on fresh noise.
        published: recipes of the literature that are judged beside them.
        final: samples of each of these.
        sheets: times ``few``, what is drawn at most before the finals.
    """

    few: int = 64
    rungs: tuple[tuple[int, int], ...] = ((2, 12), (4, 6), (8, 3))
    parents: tuple[int, ...] = (3, 2, 1)
    steps: tuple[float, ...] = (0.25, 0.125, 0.0625)
    finalists: int = 3
    published: int = 2
    final: int = 1000
    sheets: int = 220

    @property
    def choosing(self) -> int:
        """Samples that are drawn at most to choose the finalists."""
        return self.sheets * self.few

    @property
    def most(self) -> int:
        """Samples that are drawn at most, finals included: 300 sheets of 64 as it is by default."""
        return self.choosing + self.judging

    @property
    def judging(self) -> int:
        """Samples that are drawn at most to judge finalists and the best of the literature."""
        return (self.finalists + self.published) * self.final

    @property
    def climb(self) -> int:
        """Samples that the rungs take if nobody is on one yet."""
        counts = (self.few, *(times * self.few for times, _ in self.rungs))
        return sum(
            staying * (more - less) for (_, staying), less, more in zip(self.rungs, counts, counts[1:], strict=False)
        )


@dataclass(frozen=True)
class Candidate:
    """A recipe and how far its samples were from the data.

    Attributes:
        recipe: what was tried.
        distance: by samples, lower is better; infinite for a recipe that cannot be drawn.
    """

    recipe: Recipe
    distance: dict[int, float] = field(default_factory=dict)

    @property
    def rank(self) -> tuple[int, float]:
        """Sorts candidates: those on more samples first, then the nearest."""
        count = max(self.distance)
        return -count, self.distance[count]

    @property
    def drawable(self) -> bool:
        """Whether every judgement found samples that could be measured."""
        return all(math.isfinite(one) for one in self.distance.values())


class Search:
    """One search, whose candidates are judged by a callable.

    Args:
        space: what can be tried.
        plan: how much is spent.
        judge: (recipe, samples) -> distance, infinite for one that cannot be drawn; it may raise :class:`Enough`.
    """

    def __init__(self, space: Space, plan: Plan, judge: Callable[[Recipe, int], float]) -> None:
        self.space, self.plan, self._judge = space, plan, judge
        self.found: dict[Recipe, Candidate] = {}

    @property
    def spent(self) -> int:
        """Samples that the judgements so far took; more samples of a candidate include those that it had."""
        return sum(max(one.distance) for one in self.found.values())

    @property
    def best(self) -> Candidate | None:
        """The nearest so far, among those on most samples; None while none could be drawn."""
        return min(self._drawable(), key=lambda one: one.rank, default=None)

    def run(self) -> list[Candidate]:
        """The finalists, best first: none if nothing could be drawn, early ones if there was not enough for all."""
        try:
            self._round(self.space.beginning())
            for parents, step in zip(self.plan.parents, self.plan.steps, strict=True):
                best = sorted(self._drawable(), key=lambda one: one.rank)[:parents]
                self._round([one for parent in best for one in self.space.beside(parent.recipe, step)])
        except Enough:
            pass
        return sorted(self._drawable(), key=lambda one: one.rank)[: self.plan.finalists]

    def published(self) -> list[Candidate]:
        """The best recipes of the literature among those that were tried, whether or not they are finalists."""
        known = set(LITERATURE.values())
        tried = sorted((one for one in self._drawable() if one.recipe in known), key=lambda one: one.rank)
        return tried[: self.plan.published]

    def _round(self, recipes: Iterable[Recipe]) -> None:
        """Judge recipes on few samples, as far as the plan's samples reach; then those that are nearest on more."""
        few = self.plan.few
        for recipe in recipes:
            if recipe not in self.found and self.spent + few + self.plan.climb <= self.plan.choosing:
                self._judge_on(Candidate(recipe), few)
        below = few
        for times, staying in self.plan.rungs:
            for one in self._nearest(below)[:staying]:
                cost = times * few - max(one.distance)
                if cost > 0 and self.spent + cost <= self.plan.choosing:
                    self._judge_on(one, times * few)
            below = times * few

    def _judge_on(self, candidate: Candidate, count: int) -> None:
        """Judge a candidate on some samples."""
        found = self._judge(candidate.recipe, count)
        self.found[candidate.recipe] = Candidate(candidate.recipe, {**candidate.distance, count: found})

    def _drawable(self) -> list[Candidate]:
        return [one for one in self.found.values() if one.drawable]

    def _nearest(self, count: int) -> list[Candidate]:
        """Candidates that were judged on so many samples, nearest first; those that cannot be drawn are left out."""
        return sorted((one for one in self._drawable() if count in one.distance), key=lambda one: one.distance[count])
