"""A comparison of a learned range with ``corrected`` on disk, bound to the mean that learned it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diffcov.engines.range_check import RangeCheck
from diffcov.store import artifact

__all__ = ["RangeCheckFile", "load_range_check", "save_range_check"]

KIND = "range-check"


@dataclass(frozen=True)
class RangeCheckFile:
    """What was found, and of which mean.

    Attributes:
        found: both bounds.
        trunk: digest of the mean model.
        images: where they came from, as plain values.
    """

    found: RangeCheck
    trunk: str
    images: dict[str, Any]


def save_range_check(path: Path, found: RangeCheck, trunk: str, images: Mapping[str, Any]) -> None:
    """Write what :class:`RangeCheckFile` holds. OutputError if the file system refuses."""
    tensors = {"times": torch.tensor(found.times), "learned": found.learned, "corrected": found.corrected}
    artifact.write(path, KIND, tensors, {"trunk": trunk, "dims": found.dims, "images": dict(images)})


def load_range_check(path: Path) -> RangeCheckFile:
    """Read a comparison.

    Raises:
        InputError: no file, or a damaged one; deleted, it is measured again by diffcov estimate-var.
        NonFiniteError: NaN or infinity in it.
    """
    read = artifact.read(path, KIND)
    with artifact.understanding(path):
        times = tuple(int(t) for t in read.tensors["times"])
        found = RangeCheck(times, int(read.metadata["dims"]), read.tensors["learned"], read.tensors["corrected"])
        return RangeCheckFile(found, read.metadata["trunk"], read.metadata["images"])
