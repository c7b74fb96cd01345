"""``diffcov tune``: the best sampler for each number of steps."""

from __future__ import annotations

from diffcov.cli.console import Console
from diffcov.cli.options import command
from diffcov.study.requests.shared import guided
from diffcov.study.requests.tune import TuneRequest


@command(TuneRequest)
def tune(request: TuneRequest, console: Console, as_json: bool) -> None:
    """Find the best sampler of K steps for this mean by trying: solver, order, covariance, grid, noise and scale.

    Many candidates on few samples, then what lies beside the best, then more samples for who stays; the last ones are
    judged on noise and images that chose nothing. It writes a recipe for each K, which sample then uses. What was drawn
    is kept: typed again, a search that was stopped goes on where it stopped.

    It takes about ten minutes for the digits on two CPU cores, three of them for 10 steps; --minutes ends it before.

    Examples:

    - `diffcov tune --steps 10`: finds one sampler; `diffcov sample --steps 10` then uses it.
    - `diffcov tune --steps 5,10 --minutes 10`: takes the best that ten minutes find, five for each.
    """
    from diffcov.present.terminal.tuned import tuned_tables
    from diffcov.study.tune import tune

    found = tune(request, console)
    for table in tuned_tables(found.as_dict()):
        console.show(table)
    console.next_step(f"diffcov sample --steps {max(found.paths)}{guided(request.guidance)}")
    console.finish(found.as_dict(), as_json, "\n".join(map(str, found.paths.values())))
