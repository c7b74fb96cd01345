"""The exact state of a training on disk, and whether a wish to resume it fits what it was."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from diffcov.errors import UsageError
from diffcov.store import artifact

__all__ = ["StateProgress", "load_state", "read_progress", "resumed_settings", "save_state"]

KIND = "state"


@dataclass(frozen=True)
class StateProgress:
    """How far a training is.

    Attributes:
        iteration: iterations done.
        finished: whether its budget was spent.
        iterations: the budget, or None.
        minutes: the budget, or None.
        data_digest: of the images it is trained on.
        patience: evaluations without a gain that end it; 0 where none do, as in states of an earlier version.
    """

    iteration: int
    finished: bool
    iterations: int | None
    minutes: float | None
    data_digest: str
    patience: int = 0


def save_state(path: Path, tensors: Mapping[str, Tensor], settings: Mapping[str, Any], progress: StateProgress) -> None:
    """Write weights, averages and optimiser with the settings they belong to. OutputError if refused."""
    artifact.write(path, KIND, tensors, {"settings": dict(settings), "progress": vars(progress)})


def read_progress(path: Path) -> tuple[dict[str, Any], StateProgress]:
    """(settings, progress) of a training, from the header alone.

    Raises:
        InputError: the file is missing or damaged.
    """
    header = artifact.read_header(path, KIND)
    values = artifact.header_values(path, header)
    with artifact.understanding(path):
        return dict(values["settings"]), StateProgress(**values["progress"])


def load_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any], StateProgress]:
    """(tensors, settings, progress) of a training.

    Raises:
        InputError: the file is missing or damaged.
    """
    settings, progress = read_progress(path)
    return artifact.read(path, KIND).tensors, settings, progress


def resumed_settings(
    stored: Mapping[str, Any], wanted: Mapping[str, Any], override: Collection[str], fixed: Collection[str]
) -> dict[str, Any]:
    """The settings to go on with: the stored ones, with the named changes.

    Args:
        stored: settings of the training to resume, flat.
        wanted: what was given on the command line, flat; options that were not given are absent.
        override: names of options whose change is meant.
        fixed: names that cannot change at all, because the stored weights have their shape.

    Raises:
        UsageError: a change that was not named, one that is impossible, or a name in ``override`` that is no setting.
    """
    unknown = sorted(set(override) - set(stored))
    if unknown:
        raise UsageError(f"--override {unknown[0]}: no such setting; there are {', '.join(sorted(stored))}")
    changed = {name: value for name, value in wanted.items() if stored.get(name) != value}
    for name, value in changed.items():
        option = name.replace("_", "-")
        change = f"{option} {stored.get(name)} -> {value}"
        if name in fixed:
            raise UsageError(
                f"the training being resumed cannot change its {change}; leave the option out, or train another "
                "model in another --run"
            )
        if name not in override:
            raise UsageError(
                f"option differs from the training being resumed: {change}; leave it out, or accept it with "
                f"--override {option}"
            )
    return {**stored, **changed}
