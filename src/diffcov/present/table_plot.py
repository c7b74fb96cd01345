"""The curves of a variance table as a PNG file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffcov.errors import InputError, UsageError
from diffcov.present.plots import table_png
from diffcov.store.atomic import refuse_existing, write_bytes
from diffcov.store.statistics import StatisticFile

__all__ = ["check_plot", "plot_table"]


def check_plot(path: Path, force: bool) -> None:
    """Refuse, before any work, what cannot be written.

    Raises:
        UsageError: a name that does not end in .png.
        OutputError: something is there, without ``force``.
    """
    if path.suffix.lower() != ".png":
        raise UsageError(f"--plot writes a PNG and {path} is not called one; give a name that ends in .png")
    refuse_existing(path, force, "use --force to replace it, or another --plot")


def plot_table(path: Path, table: StatisticFile[Any] | None, inspected: Path) -> None:
    """Draw a variance table that was read from ``inspected``, replacing what is there.

    Raises:
        InputError: there is none, it holds no time, or matplotlib is not installed.
        OutputError: the file system refuses.
    """
    if table is None:
        raise InputError(
            f"--plot draws a variance table and {inspected} holds none that can be read; run: diffcov estimate-var"
        )
    write_bytes(path, table_png(table.statistic, table.schedule, table.data.var_bound))
