"""What ``auto`` stands for: the covariance that the run's comparison found best, else the first of a fixed order."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffcov.covariance import registry
from diffcov.errors import InputError, UsageError
from diffcov.io import artifact
from diffcov.io.fitted import available, files_of
from diffcov.io.run import Run

__all__ = ["AUTO", "Choice", "choose"]

AUTO = "auto"


@dataclass(frozen=True)
class Choice:
    """A registered name, and why it was taken if nobody named it."""

    name: str
    why: str = ""


def choose(run: Run, text: str, process: str = "ddpm", steps: int | None = None) -> Choice:
    """The covariance that an option names.

    For "auto" it is the one whose samples had the lowest Frechet distance in the run's comparison, at the number of
    steps nearest to ``steps``, if that was measured with this mean and with the tables and heads that are here now.
    Else it is the first of ``registry.PREFERENCE`` that the run can build.

    Args:
        run: the run.
        text: "auto" or a registered name.
        process: name of the process that it is for.
        steps: K, or None where no number of steps is meant.

    Raises:
        UsageError: no such name.
        InputError: the run's comparison cannot be read.
    """
    if text != AUTO:
        if text not in registry.COVARIANCES:
            raise UsageError(f"unknown covariance {text!r}; choose auto or one of {', '.join(registry.COVARIANCES)}")
        return Choice(text)
    measured = None if steps is None else _best_measured(run, process, steps)
    if measured is not None:
        return measured
    buildable = [name for name, lacking in available(run).items() if lacking is None]
    return Choice(registry.preferred(buildable), "the first in the order of preference that this run holds")


def _best_measured(run: Run, process: str, steps: int) -> Choice | None:
    path = run.comparison / "compare.json"
    if not path.is_file() or not run.mean.is_file():
        return None
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        if result["mean"]["digest"] != _digest(run.mean):
            return None
        present = [name for name, one in result["covariances"].items() if _unchanged(run, name, one["fitted"])]
        cells = [
            cell for cell in result["cells"]
            if cell["process"] == process and cell["covariance"] in present and cell["fid"] is not None
        ]  # fmt: skip
        if not cells:
            return None
        nearest = min((cell["steps"] for cell in cells), key=lambda K: abs(math.log(K / steps)))
        best = min((cell for cell in cells if cell["steps"] == nearest), key=lambda cell: cell["fid"])
        label = f"fid@{result['settings']['count']} {result['settings']['features']}"
        why = (
            f"lowest {label} of {len(present)} at {nearest} {process} steps in this run's comparison: {best['fid']:.4g}"
        )
        return Choice(best["covariance"], why)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} cannot be understood ({type(error).__name__}: {error}); compare again with: diffcov compare, "
            "or name a covariance with --covariance"
        ) from error


def _unchanged(run: Run, name: str, fitted: dict[str, str]) -> bool:
    """Whether what a covariance was built from is what the run holds now."""
    if name not in registry.COVARIANCES:
        return False
    paths = files_of(run, name)
    return {path.name for path in paths} == fitted.keys() and all(
        path.is_file() and _digest(path) == fitted[path.name] for path in paths
    )


def _digest(path: Path) -> Any:
    return artifact.read_header(path)["digest"]
