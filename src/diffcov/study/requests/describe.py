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
    """A file, a run or a set of images to be described."""

    path: Path | None = option(
        None,
        "What to look at: a file that diffcov wrote, a run, or a set of images.",
        metavar="[FILE|RUN|DATA]",
        argument=True,
    )
    place: Place = Place()
    pictures: PictureChoice = PictureChoice()
    sheet: Path | None = option(
        None, "Draw a contact sheet of a set of images into this file, with a row for each class.", metavar="FILE.png"
    )
    plot: Path | None = option(None, "Draw the curves of the variance table into this file.", metavar="FILE.png")
    force: bool = option(False, "Replace what is already there.", "--force")
