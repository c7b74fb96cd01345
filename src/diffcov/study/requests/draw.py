"""What samplings can be asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from diffcov.covariance.registry import COVARIANCES
from diffcov.engines.recipe import LITERATURE
from diffcov.errors import UsageError
from diffcov.store.paths import expanded_text
from diffcov.study.options import one_of, option
from diffcov.study.requests.phrases import BATCH_SIZE, COVARIANCE, FORCE, RUNNING, SAMPLING, names
from diffcov.study.requests.shared import ChosenSampler, Place, Running, ViewChoice
from diffcov.study.requests.words import ALL, AUTO, NONE, OFF

__all__ = ["LastNoise", "SampleRequest"]

FORMATS = ("grid", "folder", "npz")
"""How samples can be written; the grid always is."""
LastNoise = float | Literal["auto", "off"]
"""The cap on the last noise in grey levels: the published one, none, or a number."""


def last_noise(text: str) -> LastNoise:
    """auto, off or a number; UsageError for anything else."""
    if text in (AUTO, OFF):
        return text  # type: ignore[return-value]
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"--last-noise must be auto, off or a number of grey levels, found {text!r}") from None


def a_class(text: str) -> str:
    """A class number, or the word; UsageError for anything else."""
    if text != ALL and not text.isdecimal():
        raise UsageError(f"--class takes class numbers with commas between, such as 0,1,2, or {ALL}; found {text!r}")
    return text


@dataclass(frozen=True)
class SampleRequest:
    """A set of samples."""

    place: Place = Place()
    steps: int | None = option(
        None, "Number of steps, which is the number of network calls an image.", metavar="K", shown="50"
    )
    covariance: str = option(AUTO, COVARIANCE, metavar="NAME", words=lambda: [AUTO, *COVARIANCES])
    recipe: str = option(
        AUTO,
        "A whole sampler by name: auto (what diffcov tune found for so many steps, if nothing else is chosen), none, a "
        f"file that tune wrote, or one of the literature: {names(list(LITERATURE))}.",
        metavar="NAME|PATH",
        parse=expanded_text,
        words=lambda: [AUTO, NONE, *LITERATURE],
    )
    count: int = option(64, "Number of images to draw.", metavar="N", least=1)
    classes: tuple[str, ...] | None = option(
        None,
        "Classes to draw in turn, by number, or all of them. Each gets a row of the sheet.",
        "--class",
        metavar=f"N,..|{ALL}",
        many=True,
        parse=a_class,
        shown="all, if the mean knows classes",
    )
    out: Path | None = option(
        None, "Folder for the images, which must not be there yet.", metavar="DIR", shown="in the run's samples/"
    )
    formats: tuple[str, ...] = option(
        (),
        f"What to write beside the contact sheet (grid.png): {', '.join(FORMATS)}.",
        "--format",
        metavar="NAME,..",
        many=True,
        parse=one_of("--format", lambda: FORMATS),
        words=lambda: FORMATS,
    )
    force: bool = option(False, FORCE, "--force")
    sampler: ChosenSampler = ChosenSampler()
    last_noise: LastNoise = option(
        AUTO,
        "Cap on the noise of the last step, in grey levels: auto (as published), off, or a number.",
        metavar="X",
        parse=last_noise,
        words=lambda: [AUTO, OFF],
        panel=SAMPLING,
    )
    view: ViewChoice = ViewChoice()
    seed: int = option(
        0, "Seed of the noise. Image number i depends on the seed and i alone.", metavar="N", panel=RUNNING
    )
    noise: int | None = option(
        None,
        "Version of the noise: a set drawn with 1 or 2, as its manifest says, is drawn again with that.",
        metavar="N",
        least=1,
        shown="the newest",
        panel=RUNNING,
    )
    first: int = option(0, "Number of the first image, to draw a set in parts.", metavar="I", least=0, panel=RUNNING)
    of: int | None = option(
        None,
        "Draw a part of one set of N images: calls that differ in --first and --count fill it, in any order and at the "
        "same time, and the one that completes it writes it.",
        metavar="N",
        least=1,
        shown="a set of its own",
        panel=RUNNING,
    )
    batch_size: int = option(64, BATCH_SIZE, metavar="N", least=1, panel=RUNNING)
    running: Running = Running()
