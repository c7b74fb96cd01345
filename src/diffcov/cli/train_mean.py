"""``diffcov train-mean``: images in, mean model out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffcov.cli.console import Console
from diffcov.cli.options import command
from diffcov.study.requests.train import TrainRequest


@command(TrainRequest)
def train_mean(request: TrainRequest, console: Console, as_json: bool) -> None:
    """Train the mean model: a network (a U-Net) that predicts the noise in an image, or what --predict says.

    Settings come from the preset that fits the images; every one can be given instead. Ctrl-C saves, and --resume goes
    on from there. --minutes and --iterations are totals: what earlier calls did counts.

    It takes about five minutes for the digits on two CPU cores, and 20 minutes to an hour until photographs of 16 to 32
    pixels show something; --dry-run says what it takes here.

    Examples:

    - `diffcov train-mean`: trains on the digits that come with the package.
    - `diffcov train-mean --run runs/mine --data photos.zip --size 32 --minutes 60`: trains on pictures of your own.
    """
    from diffcov.study.train import train_mean

    trained = train_mean(request, console)
    if trained.mean is None:
        console.finish(trained.as_dict(), as_json, _in_a_line(trained.settings), kept=False)
        return
    console.finish(trained.as_dict(), as_json, str(trained.mean))
    console.next_step("diffcov estimate-var")


def _in_a_line(settings: Mapping[str, Any]) -> str:
    """Those settings that say something, on one line."""
    told = {name: " ".join(map(str, one)) if isinstance(one, list | tuple) else one for name, one in settings.items()}
    said = {name.replace("_", " "): value for name, value in told.items() if value is not None and value is not False}
    return ", ".join(f"{name} {value}" for name, value in said.items())
