"""``diffcov inspect``: what a file, a run or a data set is, where it came from, and whether its parts fit together."""

from __future__ import annotations

from diffcov.cli.console import Console
from diffcov.cli.options import command
from diffcov.study.requests.describe import DescribeRequest


@command(DescribeRequest)
def inspect(request: DescribeRequest, console: Console, as_json: bool) -> None:
    """Say what a file, a run or a data set is, whether it is whole (exit 3 if not), and what to type next.

    It takes a second or two; a data set of many pictures takes as long as reading them.

    Examples:

    - `diffcov inspect`: looks at the run that the other commands use unasked.
    - `diffcov inspect photos.zip --sheet photos.png`: looks at pictures, and draws some of each class.
    """
    from diffcov.errors import InputError
    from diffcov.present.data_sheet import check_sheet, write_data_sheet
    from diffcov.present.table_plot import check_plot, plot_table
    from diffcov.present.terminal.curves import variance_curves
    from diffcov.present.terminal.description import part_lines
    from diffcov.present.terminal.summary import summary
    from diffcov.study.describe import describe, described_table, told
    from diffcov.study.describe_images import describe_images, images_at, refuse_images, refuse_without_images

    inspected = request.path or request.place.run
    if request.plot is not None:
        check_plot(request.plot, request.force)
    if request.sheet is not None:
        check_sheet(request.sheet, request.force)
    images = images_at(inspected, request.pictures)
    if images is None:
        refuse_without_images(request, inspected)
        if request.verify:
            _verify(request, console, as_json)
            return
        report = describe(inspected, request.place.module)
    else:
        refuse_images(request, inspected)
        report = told(describe_images(images))
    table = described_table(report) if request.everything or request.plot is not None else None
    if request.plot is not None:
        plot_table(request.plot, table, inspected)
        report = {**report, "plot": str(request.plot)}
    if request.sheet is not None and images is not None:
        write_data_sheet(request.sheet, images)
        report = {**report, "sheet": str(request.sheet)}
    lines = [part_lines(part) for part in report["parts"]] if request.everything else []
    console.finish(report, as_json, "\n".join([*lines, summary(report)]), kept=False)
    if table is not None and request.everything and not as_json:
        console.show(variance_curves(table.statistic, table.schedule, table.data))
    if report["problems"]:
        count, first = len(report["problems"]), report["problems"][0]
        raise InputError(
            f"{inspected} has {count} part(s) that do not fit: {first}{', and others' if count > 1 else ''}"
        )


def _verify(request: DescribeRequest, console: Console, as_json: bool) -> None:
    """Show every link, and raise the error of the first that does not hold."""
    from diffcov.present.terminal.links import link_lines
    from diffcov.study.verify import verify

    found = verify(request, console)
    console.finish(found.as_dict(), as_json, link_lines(found), kept=False)
    found.require_whole()
