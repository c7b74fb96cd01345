"""``diffcov inspect``: what a file or a run is, where it came from, and whether its parts fit together."""

from __future__ import annotations

from diffcov.cli.console import Console
from diffcov.cli.options import command
from diffcov.study.requests.describe import DescribeRequest


@command(DescribeRequest)
def inspect(request: DescribeRequest, console: Console, as_json: bool) -> None:
    """Say what a file or a run is, its settings, and whether its parts fit together (exit 3 if they do not)."""
    from diffcov.errors import InputError
    from diffcov.present.table_plot import check_plot, plot_table
    from diffcov.present.terminal.curves import variance_curves
    from diffcov.present.terminal.description import part_table
    from diffcov.study.describe import describe, described_table

    inspected = request.path or request.place.run
    if request.plot is not None:
        check_plot(request.plot, request.force)
    report = describe(inspected, request.place.module)
    table = described_table(report)
    if request.plot is not None:
        plot_table(request.plot, table, inspected)
        report = {**report, "plot": str(request.plot)}
    if not as_json:
        for part in report["parts"]:
            console.show(part_table(part))
        if table is not None:
            console.show(variance_curves(table.statistic, table.schedule, table.data))
        for problem in report["problems"]:
            console.note(f"problem: {problem}")
    console.finish(report, as_json, "problems" if report["problems"] else "ok", kept=False)
    if report["problems"]:
        raise InputError(f"{inspected} has {len(report['problems'])} part(s) that do not fit")
