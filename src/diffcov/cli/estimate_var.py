"""``diffcov estimate-var``: mean model and images in, statistics out."""

from __future__ import annotations

from diffcov.cli.console import Console
from diffcov.cli.options import command
from diffcov.study.requests.measure import EstimateRequest
from diffcov.study.requests.shared import guided


@command(EstimateRequest)
def estimate_var(request: EstimateRequest, console: Console, as_json: bool) -> None:
    """Measure what the mean leaves uncertain: at every time (the table), and at each frequency (the spectrum).

    The images are those the mean was trained on unless --data says otherwise. Covariances are made of what is measured.

    It takes about ten seconds for the digits on two CPU cores, and half a minute for images of 16x16 pixels.

    Examples:

    - `diffcov estimate-var`: measures all that covariances need, until it is precise enough.
    - `diffcov estimate-var --add --calls 5000`: adds 5000 images to what was measured before.
    """
    from diffcov.present.terminal.curves import variance_curves
    from diffcov.statistics.table import VarianceTable
    from diffcov.study.estimate import estimate_var

    estimated = estimate_var(request, console)
    for one in estimated.measured.values():
        if isinstance(one.statistic, VarianceTable):
            console.show(variance_curves(one.statistic, estimated.schedule, estimated.data))
    console.finish(estimated.as_dict(), as_json, "\n".join(str(one.path) for one in estimated.measured.values()))
    console.next_step(f"diffcov fit-var-head{guided(request.guidance)}")
