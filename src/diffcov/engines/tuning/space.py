"""What is tried: where the search begins, and what lies beside a recipe."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

from diffcov.covariance import registry as covariances
from diffcov.diffusion.grids import GRIDS
from diffcov.engines.recipe import LITERATURE, NOTHING, Recipe
from diffcov.solver.multistep import Multistep
from diffcov.solver.registry import load, make_solver
from diffcov.solver.through import THROUGH

__all__ = ["Space"]

PLAIN = ("ddpm", "ddim")
"""Solvers of order 1, which every covariance is tried with."""
SPREAD = ("even", "quad", "edm")
"""Grids that the other solvers begin with; quad was the best of all for most of them (benchmarks/README.md)."""


@cache
def _orders(solver: str) -> tuple[int, ...]:
    """The orders of a solver that remembers; none of another."""
    kind = load(solver)
    return kind.orders if issubclass(kind, Multistep) else ()


def _beginning_orders(solver: str) -> tuple[int | None, ...]:
    """The orders that a search begins with: none of a plain solver, else those from 2 on; None where it has none."""
    return () if solver in PLAIN else _orders(solver)[1:] or (None,)


@cache
def _own(solver: str, number: str) -> float | None:
    """A number of a solver that can be told another; None of others."""
    told: dict[str, Any] = {one.name: one.default for one in fields(load(solver))}  # type: ignore[arg-type]
    return None if number not in told else float(told[number])


def _simplest(recipe: Recipe) -> Recipe:
    """The same sampler in the one way to write it: the order said, everything else only where it is not as usual."""
    own: dict[str, Any] = {one.name: one.default for one in fields(load(recipe.solver))}  # type: ignore[arg-type]
    told: dict[str, Any] = {key: None if one == own.get(key) else one for key, one in recipe.of_solver.items()}
    told["order"] = own["order"] if recipe.order is None and _orders(recipe.solver) else recipe.order
    told["share"] = 1.0 if recipe.covariance == NOTHING else recipe.share
    return replace(recipe, **told)


@dataclass(frozen=True)
class Space:
    """The candidates that a run can draw with.

    Args:
        covariances: names of the covariances that it can build, best liked first.
        solvers: names of the solvers that it can build.
        grids: names of the grids that visit different times in so many steps.
        steps: K, which an eta a step has to list.
        last: T, where the run knows the Gaussian of its images, so that walks can start below; None where it does not.
    """

    covariances: tuple[str, ...]
    solvers: tuple[str, ...]
    grids: tuple[str, ...] = tuple(GRIDS)
    steps: int = 1
    last: int | None = None

    def beginning(self) -> list[Recipe]:
        """The literature, every covariance with the two plain solvers, and all other solvers on three grids.

        And these once more on two grids that start below T, where walks can.
        """
        found = list(LITERATURE.values())
        found += [Recipe(solver, name) for solver in PLAIN for name in self._several()]
        for solver in self.solvers:
            for order in _beginning_orders(solver):
                found += [Recipe(solver, grid=grid, order=order) for grid in SPREAD]
                found += [Recipe(solver, grid=grid, order=order, start=t) for grid, t in self._starts()]
        found += [Recipe("dpmpp", order=2, weight=w, through="eps_hat") for w in (0.25, 0.5, 0.75, 1.0)]
        found += [
            Recipe("dpmpp", name, order=2, weight=w, through="eps_hat", share=1 - w)
            for name in self._several()[:1]
            for w in (0.25, 0.5, 0.75)
        ]
        return self._possible(found)

    def can(self, recipe: Recipe) -> bool:
        """Whether the run holds what a recipe is made of, and all of that has a meaning together."""
        if recipe.solver not in self.solvers or recipe.covariance not in self.covariances:
            return False
        if isinstance(recipe.grid, str) and recipe.grid not in self.grids:
            return False
        if recipe.start is not None and not (self.last is not None and self.steps <= recipe.start <= self.last):
            return False
        return covariances.load(recipe.covariance).suits(make_solver(recipe.solver, **recipe.of_solver))

    def beside(self, recipe: Recipe, step: float) -> list[Recipe]:
        """The recipes that differ in one thing, numbers by ``step`` of their usual range."""
        own = _simplest(recipe)
        return [one for one in self._possible(self._beside(recipe, step)) if one != own]

    def _possible(self, recipes: Iterable[Recipe]) -> list[Recipe]:
        """Those that the run can draw with, each once."""
        return list(dict.fromkeys(_simplest(one) for one in recipes if self.can(one)))

    def _beside(self, recipe: Recipe, step: float) -> Iterator[Recipe]:
        yield from (replace(recipe, grid=name) for name in self.grids if isinstance(recipe.grid, str))
        if self.last is not None and isinstance(recipe.grid, str):
            yield from self._started(recipe, step, self.last)
        for factor in (1 - 0.02 * step, 1 + 0.02 * step):
            yield replace(recipe, eps_scale=round(recipe.eps_scale * factor, 6))
        if _orders(recipe.solver):
            yield from self._trends(recipe, step)
        yield from self._noises(recipe, step)
        yield from self._bands(recipe, step)
        yield from self._covered(recipe, step)

    def _starts(self) -> list[tuple[str, int]]:
        """Grids and starts that a search begins with; none where walks begin with noise alone."""
        return [] if self.last is None else [("even", self.last // 2), ("quad", 3 * self.last // 4)]

    def _started(self, recipe: Recipe, step: float, last: int) -> Iterator[Recipe]:
        """Other starts, and noise; for a walk from noise, the starts that a search begins with."""
        if recipe.start is None:
            yield from (replace(recipe, start=t) for _, t in self._starts())
            return
        yield replace(recipe, start=None)
        for other in (recipe.start - round(step * last / 2), recipe.start + round(step * last / 2)):
            if other < last:
                yield replace(recipe, start=other)

    def _noises(self, recipe: Recipe, step: float) -> Iterator[Recipe]:
        """Other etas, where the solver can be told one; noise in the first or the second half of the steps alone."""
        own = _own(recipe.solver, "eta")
        if own is None or isinstance(recipe.eta, tuple):
            return
        eta = own if recipe.eta is None else recipe.eta
        for other in (eta - step, eta + step):
            if 0 <= other <= 1:
                yield replace(recipe, eta=round(other, 6))
        if self.steps > 1:
            noisy, first = eta or step, self.steps // 2
            etas = [noisy] * first + [0.0] * (self.steps - first)
            yield replace(recipe, eta=tuple(etas))
            yield replace(recipe, eta=tuple(reversed(etas)))

    def _bands(self, recipe: Recipe, step: float) -> Iterator[Recipe]:
        """Other corrections by Haar bands, where the solver has any; published ones are below 0.1."""
        for band, told in (("low_band", recipe.low_band), ("high_band", recipe.high_band)):
            own = _own(recipe.solver, band)
            if own is None:
                continue
            for other in (round((own if told is None else told) + step / 10 * way, 6) for way in (-1, 1)):
                if other >= 0:
                    yield replace(recipe, **{band: other})  # type: ignore[arg-type]

    def _trends(self, recipe: Recipe, step: float) -> Iterator[Recipe]:
        if recipe.order is not None:
            near = (recipe.order - 1, recipe.order + 1)
            yield from (replace(recipe, order=other) for other in near if other in _orders(recipe.solver)[1:])
        weight = 1.0 if recipe.weight is None else recipe.weight
        for w in (weight - step, weight + step):
            if 0 < w <= 2:
                yield replace(recipe, weight=round(w, 6))
        for through in THROUGH:
            yield replace(recipe, through=through)

    def _covered(self, recipe: Recipe, step: float) -> Iterator[Recipe]:
        """Other shares, other covariances, none; where there is none, a little of the best liked."""
        if recipe.covariance == NOTHING:
            yield from (replace(recipe, covariance=name, share=step) for name in self._several()[:2])
            return
        for share in (recipe.share - step, recipe.share + step):
            if 0 < share <= 1:
                yield replace(recipe, share=round(share, 6))
        yield from (replace(recipe, covariance=name) for name in self._several())
        yield replace(recipe, covariance=NOTHING, share=1.0)

    def _several(self) -> Sequence[str]:
        """The covariances that say more than a solver does by itself."""
        return [name for name in self.covariances if covariances.load(name).needs][:5]
