"""What ``auto`` stands for: the covariance that the run's comparison found best, else the first of a fixed order."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffcov.covariance import registry
from diffcov.errors import InputError, UsageError
from diffcov.solver.base import Solver
from diffcov.store import artifact
from diffcov.store.checkpoint import MeanCheckpoint
from diffcov.store.comparison import RESULT, load_result
from diffcov.store.run import RunFolder
from diffcov.study.range_check import range_earned
from diffcov.study.requests.shared import ViewChoice
from diffcov.study.requests.words import AUTO

__all__ = ["Choice", "Use", "choose", "view_record"]


@dataclass(frozen=True)
class Choice:
    """A registered name, why it was taken if nobody named it, and whether that was measured."""

    name: str
    why: str = ""
    measured: bool = False


@dataclass(frozen=True)
class Use:
    """What a covariance is wanted for.

    Attributes:
        solver: how steps are made.
        steps: K.
        grid: name of the grid.
        view: what samples see the mean through.
    """

    solver: Solver
    steps: int
    grid: str = "even"
    view: ViewChoice = ViewChoice()


def view_record(view: ViewChoice) -> dict[str, Any]:
    """A view as it is recorded in comparisons, as plain values."""
    return {"clip_x0": view.clip_x0, "eps_scale": view.eps_scale, "guidance": view.guidance}


def choose(run: RunFolder, name: str, mean: MeanCheckpoint, use: Use | None = None) -> Choice:
    """The covariance that a name stands for.

    For "auto" it is the one whose samples had the lowest Frechet distance in the run's comparison, for the same use at
    the nearest number of steps, if that was measured with this mean and with the tables and heads that are here now.
    Else it is none for a solver that is published without one, and the first of ``registry.PREFERENCE`` that the run
    can build. A learned range is left out unless the run holds a measurement that its bound is below that of
    ``corrected``, see ``study.range_check``.

    Args:
        run: the run.
        name: "auto" or a registered name.
        mean: the run's mean.
        use: what for; None takes the order of preference.

    Raises:
        UsageError: no such name.
        InputError: the run's comparison, or that of its learned range, cannot be read.
    """
    if name != AUTO:
        if name not in registry.COVARIANCES:
            raise UsageError.unknown("covariance", name, registry.COVARIANCES, besides="auto or ")
        return Choice(name)
    earned = range_earned(run, mean)
    left_out = {name for name, entry in registry.COVARIANCES.items() if entry.reads_range and not earned}
    measured = None if use is None or use.steps < 1 else _best_measured(run, mean, use, left_out)
    if measured is not None:
        return measured
    if use is not None and not use.solver.covers:
        return Choice("small", f"{use.solver.name} is published without a covariance")
    buildable = [name for name, lacking in run.available().items() if lacking is None and name not in left_out]
    return Choice(registry.preferred(buildable), "usually the best of those that this run holds")


def _best_measured(run: RunFolder, mean: MeanCheckpoint, use: Use, left_out: Collection[str]) -> Choice | None:
    path, label = run.comparison / RESULT, use.solver.label
    try:
        result = load_result(run.comparison)
        if result is None:
            return None
        settings = result["settings"]
        same = settings.get("grid") == use.grid and settings.get("view") == view_record(use.view)
        if not same or result["mean"]["digest"] != mean.digest:
            return None
        present = [name for name, one in result["covariances"].items() if _unchanged(run, name, one["made_of"])]
        cells = [
            cell for cell in result["cells"]
            if cell["solver"] == label and cell["covariance"] in present and cell["fid"] is not None
            and cell["covariance"] not in left_out
        ]  # fmt: skip
        if not cells:
            return None
        nearest = min((cell["steps"] for cell in cells), key=lambda K: abs(math.log(K / use.steps)))
        cells = [cell for cell in cells if cell["steps"] == nearest]
        if len(cells) == 1:
            return None  # the best of one was not compared with anything
        best = min(cells, key=lambda cell: cell["fid"])
        fid = f"fid@{settings['count']} {settings['features']}"
        why = f"lowest {fid} of {len(cells)} at {nearest} {label} steps in this run's comparison: {best['fid']:.4g}"
        return Choice(best["covariance"], why, measured=True)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} cannot be understood ({type(error).__name__}: {error}); compare again with: diffcov compare, "
            "or name a covariance with --covariance"
        ) from error


def _unchanged(run: RunFolder, name: str, made_of: dict[str, str]) -> bool:
    """Whether what a covariance was built from is what the run holds now."""
    if name not in registry.COVARIANCES:
        return False
    paths = run.needed_by(name)
    return {path.name for path in paths} == made_of.keys() and all(
        path.is_file() and _digest(path) == made_of[path.name] for path in paths
    )


def _digest(path: Path) -> Any:
    return artifact.read_header(path)["digest"]
