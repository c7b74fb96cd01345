"""``diffcov inspect``: what a file, a run or a data set is, where it came from, and whether its parts fit together."""

from __future__ import annotations

from diffcov.cli.console import Console
from diffcov.cli.options import command
from diffcov.study.requests.describe import DescribeRequest


@command(DescribeRequest)
def inspect(request: DescribeRequest, console: Console, as_json: bool) -> None:
    """Say what a file, a run or a data set is, its settings, and whether its parts fit together (exit 3 if not).

    It takes a second or two; a data set of many pictures takes as long as reading them.

    Examples:

    - `diffcov inspect`: looks at the run that the other commands use unasked.
    - `diffcov inspect photos.zip --sheet photos.png`: looks at pictures, and draws some of each class.
    """
    from diffcov.errors import InputError
    from diffcov.present.data_sheet import check_sheet, write_data_sheet
    from diffcov.present.table_plot import check_plot, plot_table
    from diffcov.present.terminal.curves import variance_curves
    from diffcov.present.terminal.description import part_table
    from diffcov.study.describe import describe, described_table
    from diffcov.study.describe_images import describe_images, images_at, refuse_without_images

    inspected = request.path or request.place.run
    if request.plot is not None:
        check_plot(request.plot, request.force)
    if request.sheet is not None:
        check_sheet(request.sheet, request.force)
    images = images_at(inspected, request.pictures)
    if images is None:
        refuse_without_images(request, inspected)
    report = describe(inspected, request.place.module) if images is None else describe_images(images)
    table = described_table(report)
    if request.plot is not None:
        plot_table(request.plot, table, inspected)
        report = {**report, "plot": str(request.plot)}
    if request.sheet is not None and images is not None:
        write_data_sheet(request.sheet, images)
        report = {**report, "sheet": str(request.sheet)}
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
