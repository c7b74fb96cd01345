"""Successive halving: many candidates on few samples, what lies beside the best, and more samples for who stays."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
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
        more: samples of those that stay.
        parents: candidates that are looked beside, in each round.
        steps: how far beside, round after round, in shares of the usual ranges.
        staying: candidates that get ``more`` samples.
        promising: candidates beside the best of those that get as many.
        finalists: candidates that are judged on fresh noise.
        published: recipes of the literature that are judged beside them.
        final: samples of each of these.
        sheets: times ``few``, what is drawn at most before the finals.
    """

    few: int = 64
    more: int = 256
    parents: tuple[int, ...] = (4, 2, 2)
    steps: tuple[float, ...] = (0.25, 0.25, 0.125)
    staying: int = 10
    promising: int = 4
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
        return self.choosing + (self.finalists + self.published) * self.final


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
        plan = self.plan
        left = (plan.staying + plan.promising) * (plan.more - plan.few)
        try:
            self._try(self.space.beginning(), plan.few, left)
            for parents, step in zip(plan.parents, plan.steps, strict=True):
                best = self._nearest(plan.few)[:parents]
                self._try((one for parent in best for one in self.space.beside(parent.recipe, step)), plan.few, left)
            staying = self._nearest(plan.few)[: plan.staying]
            self._try((one.recipe for one in staying), plan.more)
            last = self._nearest(plan.more)[:2]
            beside = [one for parent in last for one in self.space.beside(parent.recipe, plan.steps[-1] / 2)]
            self._try(self._promising(beside), plan.more)
        except Enough:
            pass
        return sorted(self._drawable(), key=lambda one: one.rank)[: plan.finalists]

    def published(self) -> list[Candidate]:
        """The best recipes of the literature among those that were tried, whether or not they are finalists."""
        known = set(LITERATURE.values())
        tried = sorted((one for one in self._drawable() if one.recipe in known), key=lambda one: one.rank)
        return tried[: self.plan.published]

    def _try(self, recipes: Iterable[Recipe], count: int, left: int = 0) -> None:
        """Judge recipes on some samples, as far as the plan's samples reach if some are to be left."""
        for recipe in list(recipes):
            known = self.found.get(recipe, Candidate(recipe))
            if count in known.distance:
                continue
            cost = count - max(known.distance, default=0)
            if self.spent + cost + left > self.plan.choosing:
                continue
            known.distance[count] = self._judge(recipe, count)
            self.found[recipe] = known

    def _promising(self, recipes: Sequence[Recipe]) -> list[Recipe]:
        """The best few of some recipes on few samples."""
        plan = self.plan
        self._try(recipes, plan.few, plan.promising * (plan.more - plan.few))
        tried = [self.found[one] for one in dict.fromkeys(recipes) if one in self.found]
        drawable = [one for one in tried if one.drawable]
        return [one.recipe for one in sorted(drawable, key=lambda one: one.distance[plan.few])[: plan.promising]]

    def _drawable(self) -> list[Candidate]:
        return [one for one in self.found.values() if one.drawable]

    def _nearest(self, count: int) -> list[Candidate]:
        """Candidates that were judged on so many samples, nearest first; those that cannot be drawn are left out."""
        return sorted((one for one in self._drawable() if count in one.distance), key=lambda one: one.distance[count])
