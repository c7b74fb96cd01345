"""The variance table on disk."""

from __future__ import annotations

from pathlib import Path

import torch

from diffcov.errors import InputError
from diffcov.statistics.table import VarianceTable
from diffcov.store.measured import MeasuredFile, MeasuredKind

__all__ = ["TABLE", "TableFile", "load_table", "save_table"]

TableFile = MeasuredFile[VarianceTable]

TABLE: MeasuredKind[VarianceTable] = MeasuredKind(
    "variance-table",
    "variance table",
    "diffcov estimate-var --force",
    lambda tensors: VarianceTable(**{name: value.to(torch.float64) for name, value in tensors.items()}),
)

save_table = TABLE.save


def load_table(path: Path, trunk: str | None = None) -> TableFile:
    """Read a table; see :meth:`diffcov.store.measured.MeasuredKind.load`.

    Raises:
        InputError: also a table of another length than its schedule.
    """
    found = TABLE.load(path, trunk)
    if found.statistics.T != found.schedule.T:
        raise InputError(
            f"{path} holds {found.statistics.T} times, but its schedule has T={found.schedule.T}; make the table again"
        )
    return found
