"""``diffcov evaluate``: covariances judged along one grid."""

from __future__ import annotations

from diffcov.cli.console import Console
from diffcov.cli.options import command
from diffcov.study.requests.judge import EvaluateRequest


@command(EvaluateRequest)
def evaluate(request: EvaluateRequest, console: Console, as_json: bool) -> None:
    """Measure covariances: the bound on the likelihood term by term, distances of samples, calibration.

    All covariances see the same noise, so their differences are sharper than their values.

    It takes about ten seconds for 256 digits in 50 steps on two CPU cores; distances take as long as their samples.

    Examples:

    - `diffcov evaluate --covariance all --steps 50`: measures bits/dim of all that the run holds.
    - `diffcov evaluate --metrics distances,calibration --steps 10 --count 500`: draws samples with the best of them
      too.
    """
    from diffcov.present.terminal.evaluation import evaluation_lines, evaluation_tables
    from diffcov.study.evaluate import evaluate

    found = evaluate(request, console)
    for table in evaluation_tables(found.document):
        console.show(table)
    console.finish(found.as_dict(), as_json, "\n".join(evaluation_lines(found.document)), kept=False)
