"""``diffcov demo``: a picture with the mean that the package brings, or everything on the embedded digits."""

from __future__ import annotations

from diffcov.cli.compare import show_comparison
from diffcov.cli.console import Console
from diffcov.cli.options import command
from diffcov.study.requests.demo import DemoRequest


@command(DemoRequest, lambda request: request.where)
def demo(request: DemoRequest, console: Console, as_json: bool) -> None:
    """Draw a first picture with the trained mean that the package brings.

    The best sampler of ten steps stands beside plain DDPM and DDIM, and the run is yours to go on with. With --train
    everything is done on the embedded digits instead (train, measure, fit, tune, compare). Typed again after Ctrl-C, it
    goes on where it stopped.

    It takes about half a minute on two CPU cores, and with --train nine to fourteen minutes.

    Examples:

    - `diffcov demo`: draws the picture, and leaves a run to go on with in runs/clothes.
    - `diffcov demo --train --run runs/digits`: ends with a report of every covariance and sampler.
    """
    if request.train:
        from diffcov.study.demo import demo

        show_comparison(demo(request, console), console, as_json)
        return
    from diffcov.present.first_picture import verdict, write_first_picture
    from diffcov.study.first_picture import first_picture

    found = first_picture(request, console)
    path = write_first_picture(found)
    for line in verdict(found):
        console.note(line)
    console.note(f"picture: {path}")
    console.next_step("diffcov sample --steps 10, or everything from the beginning: diffcov demo --train")
    console.finish({**found.as_dict(), "picture": str(path)}, as_json, str(path))
