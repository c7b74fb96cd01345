"""The exact state of a training on disk, and whether a wish to resume it fits what it was."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from diffcov.errors import InputError, UsageError
from diffcov.io import artifact

__all__ = ["load_state", "resumed_settings", "save_state"]

KIND = "state"


def save_state(
    path: Path, tensors: Mapping[str, Tensor], settings: Mapping[str, Any], progress: Mapping[str, Any]
) -> None:
    """Write weights, averages and optimiser with the settings they belong to. OutputError if refused."""
    artifact.write(path, KIND, tensors, {"settings": dict(settings), "progress": dict(progress)})


def load_state(path: Path, command: str) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, Any]]:
    """(tensors, settings, progress) of a training that stopped.

    Raises:
        InputError: there is none, or it is damaged.
    """
    if not path.is_file():
        raise InputError(f"nothing to resume: {path} does not exist; start with: diffcov {command}")
    found = artifact.read(path, KIND)
    return found.tensors, found.metadata["settings"], found.metadata["progress"]


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
            raise UsageError(f"the training being resumed cannot change its {change}; use --force to start over")
        if name not in override:
            raise UsageError(
                f"option differs from the training being resumed: {change}; leave it out, or accept it with "
                f"--override {option}"
            )
    return {**stored, **changed}
