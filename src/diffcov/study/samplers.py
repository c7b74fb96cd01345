"""Recipes and a run together: samplers that are ready to draw."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from diffcov.covariance.base import Covariance
from diffcov.engines.classes import Classes
from diffcov.engines.recipe import LITERATURE, Recipe
from diffcov.engines.sampler import Sampler
from diffcov.errors import InputError, UsageError
from diffcov.gaussian.start import GaussianStart
from diffcov.solver.base import Solver
from diffcov.solver.registry import make_solver
from diffcov.statistics.base import Statistic
from diffcov.store.artifact import read_header
from diffcov.store.checkpoint import MeanCheckpoint
from diffcov.store.recipes import RecipeFile, load_recipe
from diffcov.store.run import RunFolder
from diffcov.study.known import Known, known_covariance, known_start, solver_statistics
from diffcov.study.listener import Listener

__all__ = ["Samplers", "changed_since", "named_recipe", "recipe_of_run", "tuned_recipe"]


@dataclass
class Samplers:
    """What a run can draw with, read once.

    Attributes:
        run: the run.
        mean: its mean.
        guidance: W.
        classes: of the images.
        seed: of their noise.
    """

    run: RunFolder
    mean: MeanCheckpoint
    guidance: float = 1.0
    classes: Classes | None = None
    seed: int = 0
    _covariances: dict[str, Known] = field(default_factory=dict, init=False)
    _statistics: dict[str, dict[str, Statistic]] = field(default_factory=dict, init=False)
    _solvers: dict[Solver, Solver] = field(default_factory=dict, init=False)

    def sampler(self, recipe: Recipe, K: int, seed: int | None = None) -> Sampler:
        """The sampler of a recipe in K steps.

        Raises:
            UsageError: a value that cannot be, or listed times that are not K.
            InputError: the run lacks what it is made of.
        """
        return Sampler.of_recipe(
            recipe,
            self.mean.model,
            steps=K,
            guidance=self.guidance,
            classes=self.classes,
            seed=self.seed if seed is None else seed,
            covariance=self.covariance(recipe.covariance),
            solver=self.solver(recipe),
            start=self.start(recipe),
        )

    def covariance(self, name: str) -> Covariance:
        """A covariance of the run. InputError if it lacks what that is built from."""
        return self.known(name).covariance

    def known(self, name: str) -> Known:
        """A covariance of the run and the guidance that it was measured at; InputError as for the covariance."""
        if name not in self._covariances:
            self._covariances[name] = known_covariance(self.run, name, self.mean, ())
        return self._covariances[name]

    def solver(self, recipe: Recipe) -> Solver:
        """The solver of a recipe. InputError if the run lacks what it needs."""
        made = make_solver(recipe.solver, **recipe.of_solver)
        if not made.needs:
            return made
        if made.name not in self._statistics:
            self._statistics[made.name] = solver_statistics(self.run, made, self.mean)
        if made not in self._solvers:
            self._solvers[made] = made.given(self._statistics[made.name])
        return self._solvers[made]

    def made_of(self, recipe: Recipe) -> dict[str, str]:
        """Digests of the run's files that a recipe is made of, by name."""
        start = self.start(recipe)
        of_start = {} if start is None else start.made_of
        return {**self.covariance(recipe.covariance).made_of, **self.solver(recipe).made_of, **of_start}

    def start(self, recipe: Recipe) -> GaussianStart | None:
        """What a recipe draws first; None: noise. InputError if the run lacks the Gaussian of the images."""
        return None if recipe.start is None else self.gaussian_start

    @cached_property
    def gaussian_start(self) -> GaussianStart:
        """The start that the run's images make. InputError if they were not measured."""
        return known_start(self.run, self.mean)


def named_recipe(text: str, mean: MeanCheckpoint) -> tuple[Recipe, RecipeFile | None]:
    """The recipe that a name or the path of a tuned one stands for, and the file of a tuned one.

    Raises:
        UsageError: neither a name nor a file.
        InputError: a file that is no recipe, or one that was found with another mean.
    """
    if text in LITERATURE:
        return LITERATURE[text], None
    if not Path(text).is_file():
        raise UsageError(f"--recipe {text} is no recipe and no file; choose one of {', '.join(LITERATURE)}, or a path")
    found = load_recipe(Path(text))
    if found.mean != mean.digest:
        raise InputError(
            f"{text} was tuned with another mean ({found.mean[:12]}, this one is {mean.digest[:12]}); tune for this "
            "one with: diffcov tune"
        )
    return found.recipe, found


def recipe_of_run(text: str, run: RunFolder, mean: MeanCheckpoint) -> tuple[Recipe, int | None]:
    """The same for a run that draws with it, and the steps that a tuned one is for.

    Raises:
        UsageError, InputError: as for :func:`named_recipe`, or a file that was found with other statistics.
    """
    recipe, found = named_recipe(text, mean)
    if found is None:
        return recipe, None
    changed = changed_since(found, run, mean)
    if changed:
        raise InputError(
            f"{text} was tuned with another {', '.join(changed)} than this run holds; tune for this one with: diffcov "
            f"tune --steps {found.steps}"
        )
    return recipe, found.steps


def tuned_recipe(run: RunFolder, mean: MeanCheckpoint, K: int, guidance: float, say: Listener) -> RecipeFile | None:
    """The run's tuned recipe for K steps; None if there is none, or if it was found with other things than are here.

    Raises:
        InputError: a damaged one.
    """
    path = run.recipe(K)
    if not path.is_file():
        return None
    found = load_recipe(path)
    changed = changed_since(found, run, mean)
    if found.guidance != guidance:
        changed.append(f"guidance ({found.guidance:g}, and this is {guidance:g})")
    if changed:
        again = "" if guidance == 1 else f" --guidance {guidance:g}"
        say.warn(
            f"{path} is left alone: it was tuned with another {', '.join(changed)}; tune again with: diffcov tune "
            f"--steps {K}{again} --force"
        )
        return None
    return found


def changed_since(found: RecipeFile, run: RunFolder, mean: MeanCheckpoint) -> list[str]:
    """The files of a run that are not those which a recipe was found with, by name."""
    other = [] if found.mean == mean.digest else [run.mean.name]
    return other + [name for name, digest in found.made_of.items() if _digest(run.path / name) != digest]


def _digest(path: Path) -> str | None:
    return str(read_header(path)["digest"]) if path.is_file() else None
