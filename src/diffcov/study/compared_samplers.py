"""Samplers that a user would pick, beside the covariances: recipes of the literature and what tune found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from diffcov.engines.recipe import Recipe
from diffcov.errors import DiffcovError, InputError
from diffcov.store.checkpoint import MeanCheckpoint
from diffcov.store.run import RunFolder
from diffcov.study.bench import Bench
from diffcov.study.listener import Listener
from diffcov.study.requests.judge import TUNED
from diffcov.study.samplers import Samplers, named_recipe, tuned_recipe

__all__ = ["ComparedSamplers", "check_names", "compared_samplers"]

SAMPLED = ("fid", "kid", "precision", "recall", "seconds")


@dataclass(frozen=True)
class ComparedSamplers:
    """What was measured.

    Attributes:
        summaries: of each sampler, by its name.
        cells: one a sampler and number of steps, as plain values.
        sheets: samples to show, by name and number of steps.
    """

    summaries: dict[str, str] = field(default_factory=dict)
    cells: list[dict[str, Any]] = field(default_factory=list)
    sheets: dict[tuple[str, int], Tensor] = field(default_factory=dict)


def compared_samplers(
    names: Sequence[str], run: RunFolder, mean: MeanCheckpoint, bench: Bench, steps: Sequence[int], say: Listener
) -> ComparedSamplers:
    """Draw with each sampler in each number of steps; those that the run cannot build are told.

    Raises:
        UsageError: a name that is neither a recipe nor a file.
        InputError: a file that is no recipe of this mean.
        NonFiniteError: NaN or infinity in an image.
    """
    out = ComparedSamplers()
    samplers = Samplers(run, mean, bench.view.guidance, bench.classes, bench.seed)
    for name in dict.fromkeys(names):
        for K in steps:
            recipe = _recipe(name, run, mean, K, bench.view.guidance, say)
            if recipe is None:
                continue
            try:
                sampler = samplers.sampler(recipe, K)
            except InputError as error:
                say.note(f"without {name}: {error}")
                break
            part = bench.drawn(sampler)
            out.summaries[name] = recipe.label if name != TUNED else "what tune found for each number of steps"
            out.cells.append({
                "sampler": name, "summary": recipe.label, "steps": K, "times": list(sampler.grid.times),
                "network_calls": K * sampler.denoiser.calls, "covariance": recipe.covariance,
                "solver": sampler.solver.label, **{key: part.values[key] for key in SAMPLED},
            })  # fmt: skip
            out.sheets[name, K] = part.tensors["pixels"]
    return out


def check_names(names: Sequence[str], mean: MeanCheckpoint) -> None:
    """Refuse names before anything is measured.

    Raises:
        UsageError, InputError: as for :func:`compared_samplers`.
    """
    for name in names:
        if name != TUNED:
            named_recipe(name, mean)


def _recipe(name: str, run: RunFolder, mean: MeanCheckpoint, K: int, guidance: float, say: Listener) -> Recipe | None:
    """The recipe of a name in K steps; None where tune found none."""
    if name != TUNED:
        return named_recipe(name, mean)
    try:
        found = tuned_recipe(run, mean, K, guidance, say)
    except DiffcovError as error:
        say.warn(str(error))
        return None
    return None if found is None else found.recipe
