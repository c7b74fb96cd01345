"""What is done to pictures before they are images of one size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from diffcov.study.options import option
from diffcov.study.requests.phrases import RUNNING

__all__ = ["PictureChoice"]


@dataclass(frozen=True)
class PictureChoice:
    """What is done to pictures before they are images; None is what the mean's own images had, or nothing."""

    size: int | None = option(
        None, "Shrink pictures to N x N pixels (Lanczos, antialiased).", metavar="N", least=1, shown="the run's own"
    )
    crop: Literal["center", "random", "none"] | None = option(
        None,
        "What --size takes of a picture: the largest square in its middle, one somewhere, or all of it, stretched.",
        shown="center",
    )
    drop_alpha: bool = option(
        False,
        "Leave out the alpha channel of pictures that have one. Their colours stay as they are stored.",
        "--drop-alpha",
    )
    cache: Path | None = option(
        None,
        "Folder in which decoded pictures are kept, so that the commands that follow need not decode them again.",
        metavar="DIR",
        environment="DIFFCOV_IMAGES",
        panel=RUNNING,
    )
    memory: float | None = option(
        None,
        "How many GB of memory the images may take. A larger set stays on disk and is read in batches.",
        metavar="GB",
        least=0,
        shown="half of what is free",
        panel=RUNNING,
    )
