"""The variance table on disk: the statistics, bound to the mean model they were measured on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diffcov.covariance.table import VarianceTable
from diffcov.data import DataDescription
from diffcov.errors import InputError
from diffcov.io import artifact
from diffcov.io.binding import check_trunk
from diffcov.mean_spec import MeanSpec
from diffcov.schedule import NoiseSchedule

__all__ = ["TableFile", "load_table", "save_table"]

KIND = "variance-table"


@dataclass(frozen=True)
class TableFile:
    """A table and where it came from.

    Attributes:
        table: the statistics.
        schedule: the schedule they were measured under.
        trunk: digest of the mean model they were measured on.
        data: the images' description.
        config: seed, samples and data source of the measurement.
        digest: of the file's tensors.
    """

    table: VarianceTable
    schedule: NoiseSchedule
    trunk: str
    data: DataDescription
    config: dict[str, Any]
    digest: str


def save_table(path: Path, table: VarianceTable, spec: MeanSpec, trunk: str, config: dict[str, Any]) -> str:
    """Write the table of a mean model; returns its digest. OutputError if the file system refuses."""
    metadata = {"schedule": spec.schedule.spec, "data": spec.data.as_dict(), "trunk": trunk, "config": config}
    return artifact.write(path, KIND, table.tensors(), metadata)


def load_table(path: Path, trunk: str | None = None) -> TableFile:
    """Read a table.

    Args:
        path: the file.
        trunk: digest of the mean model it will be used with; None reads it without a check.

    Raises:
        InputError: missing, damaged, not a table, or made for another trunk (both digests are named).
    """
    found = artifact.read(path, KIND)
    with artifact.understanding(path):
        made_for, config = found.metadata["trunk"], found.metadata["config"]
        schedule = NoiseSchedule.from_spec(found.metadata["schedule"])
        data = DataDescription.from_dict(found.metadata["data"])
        table = VarianceTable(**{name: value.to(torch.float64) for name, value in found.tensors.items()})
    if trunk is not None:
        check_trunk(path, "variance table", made_for, trunk, "diffcov estimate-var --force")
    if table.T != schedule.T:
        raise InputError(f"{path} holds {table.T} times, but its schedule has T={schedule.T}; make the table again")
    return TableFile(table, schedule, made_for, data, config, found.digest)
