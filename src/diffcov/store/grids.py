"""Optimal grids on disk: the terms they were searched in and the best one of every length.

Bound to the mean model and to the table or head of their covariance.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffcov.diffusion.optimal import OptimalGrids
from diffcov.errors import InputError, NonFiniteError
from diffcov.store import artifact
from diffcov.store.binding import Trunk

__all__ = ["GridsFile", "load_grids", "save_grids"]

KIND = "optimal-trajectories"


@dataclass(frozen=True)
class GridsFile:
    """What was searched, and for what.

    Attributes:
        found: the cheapest grid of each length.
        terms: (M+1, M+1) float64, the decomposed terms between the candidates; +inf where no step can be.
        candidates: int64 (M,), the candidate times.
        covariance: its name.
        trunk: digest of the mean model.
        fitted: digests of the covariance's table and head, by file name.
        config: images, seed and settings of the measurement.
        digest: of the file's tensors.
    """

    found: OptimalGrids
    terms: Tensor
    candidates: Tensor
    covariance: str
    trunk: str
    fitted: dict[str, str]
    config: dict[str, Any]
    digest: str


def save_grids(
    path: Path,
    found: OptimalGrids,
    terms: Tensor,
    prior: Tensor,
    candidates: Tensor,
    covariance: str,
    trunk: str,
    fitted: dict[str, str],
    config: dict[str, Any],
) -> str:
    """Write what :class:`GridsFile` holds; returns its digest. OutputError if the file system refuses."""
    tensors = {
        "cost": found.cost, "times": found.packed, "terms": terms, "prior": prior, "candidates": candidates
    }  # fmt: skip
    metadata = {"T": found.T, "covariance": covariance, "trunk": trunk, "fitted": fitted, "config": config}
    return artifact.write(path, KIND, tensors, metadata)


def load_grids(path: Path, trunk: Trunk | None = None) -> GridsFile:
    """Read optimal grids.

    Args:
        path: the file.
        trunk: the mean model they will be used with; None reads them without a check.

    Raises:
        InputError: missing, damaged, or searched for another mean model (both digests are named).
        NonFiniteError: NaN in the terms.
    """
    read = artifact.read(path, KIND, finite=False)  # +inf says that a step cannot be
    with artifact.understanding(path):
        meta, tensors = read.metadata, read.tensors
        made_for, covariance = meta["trunk"], meta["covariance"]
        if trunk is not None:
            remedy = f"diffcov trajectory --covariance {covariance} --force"
            trunk.check(path, "set of optimal grids", made_for, remedy)
        found = OptimalGrids(meta["T"], tensors["cost"], tensors["times"])
        for name, tensor in tensors.items():
            if tensor.isnan().any():
                raise NonFiniteError(f"{path} holds NaN in {name}; search again with: diffcov trajectory --force")
        if not torch.isfinite(found.cost[1:]).all() or found.packed.numel() != found.longest * (found.longest + 1) // 2:
            raise InputError(f"{path} holds no complete set of grids; search again with: diffcov trajectory")
        return GridsFile(
            found, tensors["terms"], tensors["candidates"], covariance, made_for, meta["fitted"], meta["config"],
            read.digest,
        )  # fmt: skip
