"""A fitted scale of eps_hat on disk: kept with what it was fitted for, so that it is fitted once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from diffcov.io import artifact

__all__ = ["load_eps_scale", "save_eps_scale"]

KIND = "eps-scale"


def save_eps_scale(path: Path, scale: float, tried: Sequence[tuple[float, float]], settings: Mapping[str, Any]) -> None:
    """Write the scale and the evidence: (scale, mismatch) of what was tried. OutputError if the file system refuses."""
    tensors = {
        "scale": torch.tensor(scale, dtype=torch.float64),
        "tried": torch.tensor(tried, dtype=torch.float64),
    }
    artifact.write(path, KIND, tensors, {"settings": dict(settings)})


def load_eps_scale(path: Path, settings: Mapping[str, Any]) -> float | None:
    """The scale fitted under exactly these settings; None if there is none, or another's.

    Raises:
        InputError: a damaged file.
        NonFiniteError: NaN or infinity in it.
    """
    if not path.is_file():
        return None
    found = artifact.read(path, KIND)
    with artifact.understanding(path):
        same = found.metadata["settings"] == json.loads(json.dumps(settings))
        return float(found.tensors["scale"]) if same else None
