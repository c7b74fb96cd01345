"""A fitted scale of eps_hat on disk: kept with what it was fitted for, so that it need not be fitted again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diffcov.io import artifact

__all__ = ["EpsScaleFile", "kept_eps_scale", "load_eps_scale", "save_eps_scale"]

KIND = "eps-scale"


@dataclass(frozen=True)
class EpsScaleFile:
    """What a file holds.

    Attributes:
        scale: what eps_hat is divided by.
        tried: (scale, mismatch of contrast) of every probe.
        settings: all that the scale depends on.
    """

    scale: float
    tried: tuple[tuple[float, float], ...]
    settings: Mapping[str, Any]


def save_eps_scale(path: Path, scale: float, tried: Sequence[tuple[float, float]], settings: Mapping[str, Any]) -> None:
    """Write a scale and what led to it. OutputError if the file system refuses."""
    tensors = {
        "scale": torch.tensor(scale, dtype=torch.float64),
        "tried": torch.tensor(tried, dtype=torch.float64),
    }
    artifact.write(path, KIND, tensors, {"settings": dict(settings)})


def load_eps_scale(path: Path) -> EpsScaleFile:
    """Read a scale.

    Raises:
        InputError: no file, or a damaged one.
        NonFiniteError: NaN or infinity in it.
    """
    found = artifact.read(path, KIND)
    with artifact.understanding(path):
        tried = tuple((scale, mismatch) for scale, mismatch in found.tensors["tried"].tolist())
        return EpsScaleFile(float(found.tensors["scale"]), tried, dict(found.metadata["settings"]))


def kept_eps_scale(path: Path, settings: Mapping[str, Any]) -> float | None:
    """The scale fitted under exactly these settings; None if there is none, or another's. Errors as for loading."""
    if not path.is_file():
        return None
    found = load_eps_scale(path)
    return found.scale if found.settings == json.loads(json.dumps(settings)) else None
