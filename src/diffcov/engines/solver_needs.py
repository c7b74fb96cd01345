"""What a solver and a start have to know before there is a walk, found among what was measured."""

from __future__ import annotations

from typing import Any

from diffcov.covariance.ingredients import Ingredients
from diffcov.gaussian.start import GaussianStart
from diffcov.solver.base import Solver
from diffcov.statistics import registry
from diffcov.statistics.base import Statistic
from diffcov.statistics.image_gaussian import ImageGaussian

__all__ = ["gaussian_start", "knowing", "solver_kinds", "statistics_for"]


def solver_kinds(solver: Solver) -> dict[str, type[Statistic]]:
    """The classes of the statistics that a solver needs, by the names in ``Solver.needs``."""
    return {name: registry.load(name) for name in solver.needs}


def statistics_for(solver: Solver, ingredients: Ingredients) -> dict[str, Any]:
    """The statistics that a solver needs, by the names in ``Solver.needs``.

    Raises:
        InputError: one is missing, or does not fit the mean.
    """
    kinds = solver_kinds(solver)
    ingredients.require(tuple(kinds.values()), solver.name, f"the solver {solver.name} needs")
    ingredients.only(kinds.values()).check_fit()
    return {name: ingredients[kind] for name, kind in kinds.items()}


def knowing(solver: Solver, ingredients: Ingredients) -> Solver:
    """The solver with what it needs. InputError as for :func:`statistics_for`."""
    return solver.given(statistics_for(solver, ingredients)) if solver.needs else solver


def gaussian_start(ingredients: Ingredients) -> GaussianStart:
    """The start that the Gaussian of the images makes.

    Raises:
        InputError: it is missing, or does not fit the mean.
    """
    ingredients.require((ImageGaussian,), ImageGaussian.name, "a start below T needs")
    ingredients.only((ImageGaussian,)).check_fit()
    images = ingredients[ImageGaussian]
    return GaussianStart(images.basis, images.mean, images.var, {images.file: images.digest})
