"""What ``auto`` stands for: the covariance that the run's comparison found best, else the first of a fixed order."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffcov.covariance import registry
from diffcov.diffusion.process import PROCESSES, Process
from diffcov.errors import InputError, UsageError
from diffcov.store import artifact
from diffcov.store.comparison import RESULT
from diffcov.store.run import Run
from diffcov.study.fitted import available, files_of

__all__ = ["AUTO", "Choice", "Use", "choose"]

AUTO = "auto"


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
        process: DDPM or DDIM.
        steps: K.
        trajectory: name of the trajectory.
        eps_scale: as on the command line.
        clip_x0: whether x0_hat is clipped.
    """

    process: Process
    steps: int
    trajectory: str = "even"
    eps_scale: str = "1"
    clip_x0: bool = True


def choose(run: Run, text: str, use: Use | None = None) -> Choice:
    """The covariance that an option names.

    For "auto" it is the one whose samples had the lowest Frechet distance in the run's comparison, for the same use at
    the nearest number of steps, if that was measured with this mean and with the tables and heads that are here now.
    Else it is the first of ``registry.PREFERENCE`` that the run can build.

    Args:
        run: the run.
        text: "auto" or a registered name.
        use: what for; None takes the order of preference.

    Raises:
        UsageError: no such name.
        InputError: the run's comparison cannot be read.
    """
    if text != AUTO:
        if text not in registry.COVARIANCES:
            raise UsageError(f"unknown covariance {text!r}; choose auto or one of {', '.join(registry.COVARIANCES)}")
        return Choice(text)
    measured = None if use is None or use.steps < 1 else _best_measured(run, use)
    if measured is not None:
        return measured
    buildable = [name for name, lacking in available(run).items() if lacking is None]
    return Choice(registry.preferred(buildable), "the first in the order of preference that this run holds")


def _best_measured(run: Run, use: Use) -> Choice | None:
    path, process = run.comparison / RESULT, use.process.name
    if not path.is_file() or not run.mean.is_file() or use.process.eta != PROCESSES[process](None).eta:
        return None
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        settings = result["settings"]
        same = [settings[key] == getattr(use, key) for key in ("trajectory", "eps_scale", "clip_x0")]
        if result["mean"]["digest"] != _digest(run.mean) or not all(same):
            return None
        present = [name for name, one in result["covariances"].items() if _unchanged(run, name, one["fitted"])]
        cells = [
            cell for cell in result["cells"]
            if cell["process"] == process and cell["covariance"] in present and cell["fid"] is not None
        ]  # fmt: skip
        if not cells:
            return None
        nearest = min((cell["steps"] for cell in cells), key=lambda K: abs(math.log(K / use.steps)))
        cells = [cell for cell in cells if cell["steps"] == nearest]
        best = min(cells, key=lambda cell: cell["fid"])
        label = f"fid@{settings['count']} {settings['features']}"
        why = f"lowest {label} of {len(cells)} at {nearest} {process} steps in this run's comparison: {best['fid']:.4g}"
        return Choice(best["covariance"], why, measured=True)
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
