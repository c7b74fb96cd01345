"""What a description can be asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diffcov.study.options import option
from diffcov.study.requests.pictures import PictureChoice
from diffcov.study.requests.shared import Place

__all__ = ["DescribeRequest"]


@dataclass(frozen=True)
class DescribeRequest:
    """A file, a run, a set of samples or a set of images to be described."""

    path: Path | None = option(
        None,
        "What to look at: a file that diffcov wrote, a run, a set of samples or its sheet, or a set of images.",
        metavar="[FILE|RUN|DATA]",
        argument=True,
    )
    everything: bool = option(False, "Say all that is known of every part, and draw the variance table.", "--all")
    verify: bool = option(
        False,
        "Recompute every digest and follow them from the sheet to the data; exit 3 if something has changed.",
        "--verify",
    )
    data: str | None = option(
        None, "With --verify: where the training images are, if not where they were.", metavar="PATH"
    )
    place: Place = Place()
    pictures: PictureChoice = PictureChoice()
    sheet: Path | None = option(
        None, "Draw a contact sheet of a set of images into this file, with a row for each class.", metavar="FILE.png"
    )
    plot: Path | None = option(None, "Draw the curves of the variance table into this file.", metavar="FILE.png")
    force: bool = option(False, "Replace what is already there.", "--force")
