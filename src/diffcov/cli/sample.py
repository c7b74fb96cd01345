"""``diffcov sample``: images out."""

from __future__ import annotations

from diffcov.cli.console import Console
from diffcov.cli.options import command
from diffcov.study.requests.draw import SampleRequest


@command(SampleRequest)
def sample(request: SampleRequest, console: Console, as_json: bool) -> None:
    """Draw images in K steps.

    Image number i depends on --seed and i alone, so that a set can be made longer or drawn in parts: --first says where
    to go on, and with --of several such calls fill one set, also at the same time.

    It takes about two seconds for 64 digits in 50 steps on two CPU cores, and 22 for 1000 images of 16x16 pixels in 10.

    Examples:

    - `diffcov sample --steps 10`: draws 64 images with the best that the run holds.
    - `diffcov sample --steps 50 --solver ddim --count 1000 --format npz`: draws a set for a program that measures it.
    """
    from diffcov.study.draw import draw_samples

    drawn = draw_samples(request, console)
    console.finish(drawn.as_dict(), as_json, str(drawn.shown))
