"""``diffcov inspect``: what a file or a run is, where it came from, and whether its parts fit together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diffcov.cli import options as opt
from diffcov.cli.console import finish, show

if TYPE_CHECKING:
    from diffcov.store.table import TableFile


def command(
    path: Annotated[
        Path | None, typer.Argument(metavar="[FILE|RUN]", help="An artefact, a run directory, or a set of images.")
    ] = None,
    run: opt.RunDir = opt.DEFAULT_RUN,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Draw the variance table's curves into this file.", show_default=False),
    ] = None,
    force: opt.Force = False,
    as_json: opt.Json = False,
) -> None:
    """Say what a file or a run is, its settings, and whether its parts fit together (exit 3 if they do not)."""
    from diffcov.errors import InputError
    from diffcov.study.describe import describe

    if plot is not None:
        _check_plot(plot, force)
    report = describe(path or run)
    table = _table_of(report)
    if plot is not None:
        _draw(plot, table, path or run)
        report = {**report, "plot": str(plot)}
    if not as_json:
        for part in report["parts"]:
            show(_rows(part))
        if table is not None:
            from diffcov.present.terminal.curves import variance_curves

            show(variance_curves(table.statistics, table.schedule, table.data.var_bound))
        for problem in report["problems"]:
            typer.echo(f"problem: {problem}", err=True)
    finish(report, as_json, "problems" if report["problems"] else "ok")
    if report["problems"]:
        raise InputError(f"{path or run} has {len(report['problems'])} part(s) that do not fit")


def _rows(part: Mapping[str, Any]) -> Any:
    from rich.table import Table

    table = Table(title=f"{part['kind']}: {part['path']}", title_justify="left", show_header=False, min_width=60)
    for key, value in part.items():
        if key not in ("kind", "path"):
            shown = ", ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, Mapping) else str(value)
            table.add_row(key, shown)
    return table


def _table_of(report: Mapping[str, Any]) -> TableFile | None:
    from diffcov.store.table import load_table

    found = next((part for part in report["parts"] if part["kind"] == "variance-table"), None)
    return None if found is None else load_table(Path(found["path"]))


def _check_plot(plot: Path, force: bool) -> None:
    """Before any work: is this a picture we can write?"""
    from diffcov.errors import UsageError
    from diffcov.store.atomic import refuse_existing

    if plot.suffix.lower() != ".png":
        raise UsageError(f"--plot writes a PNG and {plot} is not called one; give a name that ends in .png")
    refuse_existing(plot, force, "use --force to replace it, or another --plot")


def _draw(plot: Path, table: TableFile | None, inspected: Path) -> None:
    from diffcov.errors import InputError
    from diffcov.present.plots import save_table_curves

    if table is None:
        raise InputError(
            f"--plot draws a variance table and {inspected} holds none that can be read; run: diffcov estimate-var"
        )
    save_table_curves(plot, table.statistics, table.schedule, table.data.var_bound)
