"""Samplers that a user would pick, beside the covariances: recipes of the literature and what tune found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from diffcov.engines.recipe import Recipe
from diffcov.engines.sampler import Sampler
from diffcov.errors import InputError, NonFiniteError, UsageError
from diffcov.store.checkpoint import MeanCheckpoint
from diffcov.store.run import RunFolder
from diffcov.study.bench import Bench
from diffcov.study.listener import Listener
from diffcov.study.requests.judge import TUNED
from diffcov.study.samplers import Samplers, recipe_of_run, tuned_recipe

__all__ = ["Beside", "ComparedSamplers", "check_names", "compared_samplers", "samplers_beside"]

SAMPLED = ("fid", "fid_stderr", "kid", "precision", "recall", "seconds")


@dataclass(frozen=True)
class ComparedSamplers:
    """What was measured.

    Attributes:
        summaries: of each sampler, by its name.
        cells: one a sampler and number of steps, as plain values.
        sheets: samples to show, by name and number of steps.
        influences: of each sample on the Frechet distance of its cell, by name and number of steps.
    """

    summaries: dict[str, str] = field(default_factory=dict)
    cells: list[dict[str, Any]] = field(default_factory=list)
    sheets: dict[tuple[str, int], Tensor] = field(default_factory=dict)
    influences: dict[tuple[str, int], Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Beside:
    """Samplers that are ready to be drawn.

    Attributes:
        samplers: (name, number of steps, recipe, sampler) of each, in the order in which they were named.
        tried: numbers of steps that were asked for, by name.
        why: why there is none, by name and reason the numbers of steps.
    """

    samplers: list[tuple[str, int, Recipe, Sampler]] = field(default_factory=list)
    tried: dict[str, int] = field(default_factory=dict)
    why: dict[str, dict[str, list[int]]] = field(default_factory=dict)

    def planned(self, bench: Bench) -> int:
        """Calls of the network, an image each, that drawing will take for what is not kept yet."""
        return sum(bench.calls_of(sampler) for *_, sampler in self.samplers)

    def without(self, name: str, K: int, error: Exception) -> None:
        """Remember why there is nothing of a name in so many steps."""
        self.why.setdefault(name, {}).setdefault(str(error), []).append(K)


def samplers_beside(
    names: Sequence[str], run: RunFolder, mean: MeanCheckpoint, bench: Bench, steps: Sequence[int], say: Listener
) -> Beside:
    """Make each sampler in each number of steps, as far as the run can.

    Raises:
        UsageError: a name that is neither a recipe nor a file.
        InputError: a file that is no recipe of this mean.
    """
    out = Beside()
    samplers = Samplers(run, mean, bench.view.guidance, bench.classes, bench.seed)
    for name in dict.fromkeys(names):
        recipes = _recipes(name, run, mean, steps, bench, say)
        out.tried[name] = len(recipes)
        for K, recipe in recipes.items():
            try:
                out.samplers.append((name, K, recipe, samplers.sampler(recipe, K)))
            except (UsageError, InputError) as error:
                out.without(name, K, error)
    return out


def compared_samplers(beside: Beside, bench: Bench, say: Listener) -> ComparedSamplers:
    """Draw with each; those that cannot be drawn are told and left out."""
    out = ComparedSamplers()
    for name, K, recipe, sampler in beside.samplers:
        try:
            part = bench.drawn(sampler)
        except (UsageError, InputError, NonFiniteError) as error:
            beside.without(name, K, error)
            continue
        out.summaries[name] = recipe.label if name != TUNED else "what tune found for each number of steps"
        out.cells.append({
            "sampler": name, "summary": recipe.label, "steps": K, "times": list(sampler.grid.times),
            "network_calls": K * sampler.denoiser.calls, "covariance": recipe.covariance,
            "solver": sampler.solver.label, **{key: part.values[key] for key in SAMPLED},
        })  # fmt: skip
        out.sheets[name, K] = part.tensors["pixels"]
        out.influences[name, K] = part.tensors["influence"]
    for name, reasons in beside.why.items():
        for reason, failed in reasons.items():
            at = "" if len(failed) == beside.tried[name] else f" at {_listed(failed)} steps"
            say.note(f"without {name}{at}: {reason}")
    return out


def check_names(names: Sequence[str], run: RunFolder, mean: MeanCheckpoint) -> None:
    """Refuse names before anything is measured.

    Raises:
        UsageError, InputError: as for :func:`samplers_beside`.
    """
    for name in names:
        if name != TUNED:
            recipe_of_run(name, run, mean)


def _recipes(
    name: str, run: RunFolder, mean: MeanCheckpoint, steps: Sequence[int], bench: Bench, say: Listener
) -> dict[int, Recipe]:
    """The recipe of a name for each number of steps, without those for which tune found none."""
    if name != TUNED:
        recipe, _ = recipe_of_run(name, run, mean)
        return dict.fromkeys(steps, recipe)
    found: dict[int, Recipe] = {}
    for K in steps:
        try:
            file = tuned_recipe(run, mean, K, bench.view.guidance, say)
        except InputError as error:
            say.warn(str(error))
            continue
        if file is not None:
            found[K] = file.recipe
    lacking = [K for K in steps if not run.recipe(K).is_file()]
    if lacking:
        words = _listed(lacking)
        say.note(f"no tuned sampler of {words} steps; find one with: diffcov tune --steps {words}")
    return found


def _listed(steps: Sequence[int]) -> str:
    return ",".join(map(str, steps))
