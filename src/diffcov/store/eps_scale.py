"""A fitted scale of eps_hat on disk, beside all that it depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diffcov.engines.scale.search import FittedScale
from diffcov.store import artifact

__all__ = ["EpsScaleFile", "load_eps_scale", "save_eps_scale"]

KIND = "eps-scale"


@dataclass(frozen=True)
class EpsScaleFile:
    """What was fitted, and for what.

    Attributes:
        found: the scale and what was tried.
        trunk: digest of the mean model.
        fitted: digests of the covariance's files, by file name.
        config: everything else that the scale depends on.
    """

    found: FittedScale
    trunk: str
    fitted: dict[str, str]
    config: dict[str, Any]


def save_eps_scale(
    path: Path, found: FittedScale, trunk: str, fitted: Mapping[str, str], config: Mapping[str, Any]
) -> None:
    """Write what :class:`EpsScaleFile` holds. OutputError if the file system refuses."""
    tensors = {
        "scale": torch.tensor(found.scale, dtype=torch.float64),
        "tried": torch.tensor(found.tried, dtype=torch.float64),
    }
    artifact.write(path, KIND, tensors, {"trunk": trunk, "fitted": dict(fitted), "config": dict(config)})


def load_eps_scale(path: Path) -> EpsScaleFile:
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
        return EpsScaleFile(found, meta["trunk"], dict(meta["fitted"]), dict(meta["config"]))
