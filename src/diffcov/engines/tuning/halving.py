"""Successive halving: many candidates on few samples, what lies beside the best, and more samples for who stays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from diffcov.engines.recipe import Recipe
from diffcov.engines.tuning.space import Space

__all__ = ["Candidate", "Plan", "Search"]


@dataclass(frozen=True)
class Plan:
    """How much is spent, in samples.

    Attributes:
        few: samples of every candidate.
        more: samples of those that stay.
        parents: candidates that are looked beside, in each round.
        steps: how far beside, round after round, in shares of the usual ranges.
        staying: candidates that get ``more`` samples.
        finalists: candidates that are judged on fresh noise.
        final: their samples.
    """

    few: int = 64
    more: int = 256
    parents: tuple[int, ...] = (4, 2, 2)
    steps: tuple[float, ...] = (0.25, 0.25, 0.125)
    staying: int = 10
    finalists: int = 3
    final: int = 1000


@dataclass(frozen=True)
class Candidate:
    """A recipe and how far its samples were from the data.

    Attributes:
        recipe: what was tried.
        distance: by samples, lower is better.
    """

    recipe: Recipe
    distance: dict[int, float] = field(default_factory=dict)

    @property
    def rank(self) -> tuple[int, float]:
        """Sorts candidates: those on more samples first, then the nearest."""
        count = max(self.distance)
        return -count, self.distance[count]


class Search:
    """One search, whose candidates are judged by a callable.

    Args:
        space: what can be tried.
        plan: how much is spent.
        judge: (recipe, samples) -> distance; it may raise StopIteration when there is no time for more.
    """

    def __init__(self, space: Space, plan: Plan, judge: Callable[[Recipe, int], float]) -> None:
        self.space, self.plan, self._judge = space, plan, judge
        self.found: dict[Recipe, Candidate] = {}

    @property
    def best(self) -> Candidate | None:
        """The nearest so far, among those on most samples."""
        return min(self.found.values(), key=lambda one: one.rank) if self.found else None

    def run(self) -> list[Candidate]:
        """The finalists, best first; fewer samples were spent if the judge ran out of time."""
        try:
            self._try(self.space.beginning(), self.plan.few)
            for parents, step in zip(self.plan.parents, self.plan.steps, strict=True):
                best = self._nearest(self.plan.few)[:parents]
                self._try((one for parent in best for one in self.space.beside(parent.recipe, step)), self.plan.few)
            staying = self._nearest(self.plan.few)[: self.plan.staying]
            self._try((one.recipe for one in staying), self.plan.more)
            last = self._nearest(self.plan.more)[:2]
            beside = [one for parent in last for one in self.space.beside(parent.recipe, self.plan.steps[-1] / 2)]
            self._try(self._promising(beside), self.plan.more)
        except StopIteration:
            pass
        return sorted(self.found.values(), key=lambda one: one.rank)[: self.plan.finalists]

    def _try(self, recipes: Iterable[Recipe], count: int) -> None:
        for recipe in list(recipes):
            known = self.found.get(recipe, Candidate(recipe))
            if count not in known.distance:
                known.distance[count] = self._judge(recipe, count)
            self.found[recipe] = known

    def _promising(self, recipes: Sequence[Recipe]) -> list[Recipe]:
        """The best few of some recipes on few samples."""
        self._try(recipes, self.plan.few)
        return sorted(dict.fromkeys(recipes), key=lambda one: self.found[one].distance[self.plan.few])[:4]

    def _nearest(self, count: int) -> list[Candidate]:
        tried = [one for one in self.found.values() if count in one.distance]
        return sorted(tried, key=lambda one: one.distance[count])
