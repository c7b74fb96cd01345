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
from diffcov.study.requests.shared import (
    COVARIANCE,
    RUNNING,
    SAMPLING,
    ChosenSampler,
    Place,
    Running,
    ViewChoice,
    names,
)
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
    steps: int | None = option(None, "Steps, each one look through the network.", metavar="K", shown="50")
    covariance: str = option(AUTO, COVARIANCE, metavar="NAME", words=lambda: [AUTO, *COVARIANCES])
    recipe: str = option(
        AUTO,
        "auto (what tune found for K, if nothing else is chosen), none, a path, or one of the literature: "
        f"{names(list(LITERATURE))}.",
        metavar="NAME|PATH",
        parse=expanded_text,
        words=lambda: [AUTO, NONE, *LITERATURE],
    )
    count: int = option(64, "Number of images.", metavar="N", least=1)
    classes: tuple[str, ...] | None = option(
        None,
        "Classes to draw in turn, by number, or all: a row of the sheet each.",
        "--class",
        metavar=f"N,..|{ALL}",
        many=True,
        parse=a_class,
        shown="all, if the mean knows classes",
    )
    out: Path | None = option(None, "Folder to write.", metavar="DIR", shown="in the run's samples/")
    formats: tuple[str, ...] = option(
        (),
        f"What to write beside the grid: {', '.join(FORMATS)}.",
        "--format",
        metavar="NAME,..",
        many=True,
        parse=one_of("--format", lambda: FORMATS),
        words=lambda: FORMATS,
    )
    force: bool = option(False, "Replace what is already there.", "--force")
    sampler: ChosenSampler = ChosenSampler()
    last_noise: LastNoise = option(
        AUTO,
        "Last noise in grey levels: auto, off or a number.",
        metavar="X",
        parse=last_noise,
        words=lambda: [AUTO, OFF],
        panel=SAMPLING,
    )
    view: ViewChoice = ViewChoice()
    seed: int = option(0, "Image i depends on (seed, i) only.", metavar="N", panel=RUNNING)
    noise: int | None = option(
        None,
        "Version of the noise: a set drawn with 1 or 2, as its manifest says, is drawn again with that.",
        metavar="N",
        least=1,
        shown="the newest",
        panel=RUNNING,
    )
    first: int = option(0, "Number of the first image.", metavar="I", least=0, panel=RUNNING)
    batch_size: int = option(64, "Images a network call.", metavar="N", least=1, panel=RUNNING)
    running: Running = Running()
