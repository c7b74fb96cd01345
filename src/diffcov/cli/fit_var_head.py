"""``diffcov fit-var-head``: mean model and images in, variance heads out."""

from __future__ import annotations

from diffcov.cli.console import Console
from diffcov.cli.options import command
from diffcov.study.requests.shared import guided
from diffcov.study.requests.train import FitRequest


@command(FitRequest)
def fit_var_head(request: FitRequest, console: Console, as_json: bool) -> None:
    """Fit variance heads: small networks that say how uncertain each pixel is, from the features of the mean.

    The mean itself (the trunk that heads stand on) is frozen. Heads of several kinds are fitted together. A head is
    done once held-out images gain no more by it; --iterations and --minutes are the most. Ctrl-C saves, and --resume
    goes on from there.

    It takes about two minutes for the digits on two CPU cores, and never more than 20 where nothing else is said.

    Examples:

    - `diffcov fit-var-head`: fits the heads that are fitted unasked.
    - `diffcov fit-var-head --kind npr,ocm --minutes 5`: fits these two, for five minutes in all at most.
    """
    from diffcov.study.fit import fit_var_head

    fit = fit_var_head(request, console)
    console.finish(fit.as_dict(), as_json, "\n".join(map(str, fit.heads.values())))
    console.next_step(f"diffcov sample --steps 50{guided(fit.settings.get('guidance', 1.0))}")
