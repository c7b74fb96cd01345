"""``diffcov sample``: images out."""

from __future__ import annotations

from diffcov.cli.console import Console
from diffcov.cli.options import command
from diffcov.study.requests.draw import SampleRequest


@command(SampleRequest)
def sample(request: SampleRequest, console: Console, as_json: bool) -> None:
    """Draw images in K steps.

    Image i depends on (--seed, i) only, so a set can be made longer or in parts: --first says where to go on.
    """
    from diffcov.study.draw import draw_samples

    drawn = draw_samples(request, console)
    console.finish(drawn.as_dict(), as_json, str(drawn.sheet))
