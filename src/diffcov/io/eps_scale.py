"""Fitted scales of eps_hat on disk: kept with what they were fitted for, so that they are fitted once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from diffcov.io import artifact

__all__ = ["load_eps_scale", "save_eps_scale"]

KIND = "eps-scale"


def save_eps_scale(path: Path, times: tuple[int, ...], scales: tuple[float, ...], settings: Mapping[str, Any]) -> None:
    """Write the scale at each time. OutputError if the file system refuses."""
    tensors = {"times": torch.tensor(times), "scales": torch.tensor(scales, dtype=torch.float64)}
    artifact.write(path, KIND, tensors, {"settings": dict(settings)})


def load_eps_scale(path: Path, settings: Mapping[str, Any]) -> tuple[float, ...] | None:
    """The scales fitted under exactly these settings; None if there are none, or others.

    Raises:
        InputError: a damaged file.
        NonFiniteError: NaN or infinity in it.
    """
    if not path.is_file():
        return None
    found = artifact.read(path, KIND)
    with artifact.understanding(path):
        same = found.metadata["settings"] == json.loads(json.dumps(settings))
        return tuple(found.tensors["scales"].tolist()) if same else None
