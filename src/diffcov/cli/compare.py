"""``diffcov compare``: every covariance, solver and number of steps side by side, with one report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diffcov.cli.console import Console
from diffcov.cli.options import command
from diffcov.study.requests.judge import CompareRequest

if TYPE_CHECKING:
    from diffcov.study.compare import Comparison


@command(CompareRequest)
def compare(request: CompareRequest, console: Console, as_json: bool) -> None:
    """Compare covariances, solvers and numbers of steps: likelihood, distances, calibration, pictures and one report.

    Every part is kept as soon as it is measured: typed again, the command goes on where it stopped.

    It takes about half an hour for the digits on two CPU cores, and a fifth of that with --count 200.

    Examples:

    - `diffcov compare`: compares all that the run holds.
    - `diffcov compare --covariance analytic,npr --steps 5,10 --count 200`: compares two of them in few steps.
    """
    from diffcov.study.compare import compare

    show_comparison(compare(request, console), console, as_json)


def show_comparison(found: Comparison, console: Console, as_json: bool) -> None:
    """Write the results, show the tables, say where the report is and, last of all, who won."""
    from diffcov.present.comparison import why_no_curves, write_comparison
    from diffcov.present.report.headline import headline
    from diffcov.present.terminal.comparison import comparison_tables

    for table in comparison_tables(found.document):
        console.show(table)
    paths = write_comparison(found)
    if (why := why_no_curves(found)) is not None:
        console.note(why)
    console.note(f"report: {paths['report']}")
    if "samples_samplers" in paths:
        console.note(f"picture of every sampler, nearest to the data first: {paths['samples_samplers']}")
    console.note(headline(found.document))
    console.finish({**found.document, **paths}, as_json, paths["report"])
