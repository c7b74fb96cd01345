"""A fitted scale of eps_hat on disk, beside all that it depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diffcov.engines.scale.search import FittedScale
from diffcov.store import artifact

__all__ = ["ScaleFile", "load_scale", "save_scale"]

KIND = "eps-scale"


@dataclass(frozen=True)
class ScaleFile:
    """What was fitted, and for what.

    Attributes:
        found: the scale and what was tried.
        trunk: digest of the mean model.
        sampler: the identity of the sampler that it belongs to, with what the scale depends on beside it.
    """

    found: FittedScale
    trunk: str
    sampler: dict[str, Any]


def save_scale(path: Path, found: FittedScale, trunk: str, sampler: Mapping[str, Any]) -> None:
    """Write what :class:`ScaleFile` holds. OutputError if the file system refuses."""
    tensors = {
        "scale": torch.tensor(found.scale, dtype=torch.float64),
        "tried": torch.tensor(found.tried, dtype=torch.float64),
    }
    artifact.write(path, KIND, tensors, {"trunk": trunk, "sampler": dict(sampler)})


def load_scale(path: Path) -> ScaleFile:
    """Read a scale.

    Raises:
        InputError: no file, or a damaged one; deleted, it is fitted again.
        NonFiniteError: NaN or infinity in it.
    """
    read = artifact.read(path, KIND)
    with artifact.understanding(path):
        tried = tuple((scale, mismatch) for scale, mismatch in read.tensors["tried"].tolist())
        found = FittedScale(float(read.tensors["scale"]), tried)
        meta = read.metadata
        return ScaleFile(found, meta["trunk"], dict(meta.get("sampler") or meta["config"]))
