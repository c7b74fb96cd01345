"""``diffcov inspect``: what a file or a run is, where it came from, and whether its parts fit together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from diffcov.cli import options as opt
from diffcov.cli.console import finish, show


def command(
    path: Annotated[
        Path | None, typer.Argument(metavar="[FILE|RUN]", help="An artefact, a run directory, or a set of images.")
    ] = None,
    run: opt.RunDir = opt.DEFAULT_RUN,
    as_json: opt.Json = False,
) -> None:
    """Say what a file or a run is, its settings, and whether its parts fit together (exit 3 if they do not)."""
    from diffcov.errors import InputError
    from diffcov.io.inspection import describe

    report = describe(path or run)
    if not as_json:
        for part in report["parts"]:
            show(_table(part))
        if "variance-table" in {part["kind"] for part in report["parts"]}:
            show(_curves(report))
        for problem in report["problems"]:
            typer.echo(f"problem: {problem}", err=True)
    finish(report, as_json, "problems" if report["problems"] else "ok")
    if report["problems"]:
        raise InputError(f"{path or run} has {len(report['problems'])} part(s) that do not fit")


def _table(part: Mapping[str, Any]) -> Any:
    from rich.table import Table

    table = Table(title=f"{part['kind']}: {part['path']}", title_justify="left", show_header=False, min_width=60)
    for key, value in part.items():
        if key not in ("kind", "path"):
            shown = ", ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, Mapping) else str(value)
            table.add_row(key, shown)
    return table


def _curves(report: Mapping[str, Any]) -> Any:
    from diffcov.cli.curves import variance_curves
    from diffcov.io.table import load_table

    part = next(part for part in report["parts"] if part["kind"] == "variance-table")
    file = load_table(Path(part["path"]))
    return variance_curves(file.table, file.schedule, file.data.var_bound)
