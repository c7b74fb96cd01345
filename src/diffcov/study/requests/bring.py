"""What an import of a published model can be asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from diffcov.denoiser.parametrisation import PARAMETRISATIONS
from diffcov.errors import UsageError
from diffcov.store.paths import expanded_text
from diffcov.study.options import option, whole_numbers
from diffcov.study.requests.shared import DATA, RUNNING, RunPlace, names

__all__ = ["ImportRequest", "ReadingChoice"]

READING = "What the files leave open"


def edge(text: str) -> float:
    """One end of a range; UsageError if it is no number."""
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"--range takes two numbers with a comma between, such as 0,1; found {text!r}") from None


PREDICTIONS_OF_DIFFUSERS = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
"""What diffusers calls a prediction -> what we do."""


@dataclass(frozen=True)
class ReadingChoice:
    """What overrules the files; None leaves it to them and to the check."""

    prediction: str | None = option(
        None,
        f"What the network predicts: {names(list(PARAMETRISATIONS))}.",
        metavar=names(list(PARAMETRISATIONS)).replace(", ", "|"),
        parse=lambda text: PREDICTIONS_OF_DIFFUSERS.get(text, text),
        words=lambda: list(PARAMETRISATIONS),
        panel=READING,
    )
    schedule: Literal["linear", "scaled_linear", "sigmoid", "cosine"] | None = option(
        None, "Noise schedule, at its usual ends.", panel=READING
    )
    timesteps: int | None = option(None, "T, its number of steps.", metavar="T", least=1, panel=READING)
    time_offset: float | None = option(
        None,
        "What is taken off our t = 1..T before the network sees it; 1: it counts from 0.",
        metavar="X",
        panel=READING,
    )
    time_scale: float | None = option(None, "What the rest is multiplied by.", metavar="X", panel=READING)
    head: str | None = option(
        None,
        "Which covariance a variance head beside the mean (out2) is for: npr, sn or ocm.",
        metavar="NAME",
        words=lambda: ["npr", "sn", "ocm"],
        panel=READING,
    )
    size: tuple[int, ...] | None = option(
        None, "Height and width of the images.", metavar="H,W", many=True, parse=whole_numbers("--size", "32,32"),
        panel=READING,
    )  # fmt: skip
    range: tuple[float, ...] | None = option(
        None, "What black and white are to the network.", metavar="LOW,HIGH", many=True, parse=edge, shown="-1,1",
        panel=READING,
    )  # fmt: skip


@dataclass(frozen=True)
class ImportRequest:
    """A published model to be made a run's mean."""

    source: Path | None = option(
        None,
        "The model: a file, a folder, its name on the hub; or norms (ms_eps) of its mean.",
        metavar="SOURCE",
        argument=True,
    )
    place: RunPlace = RunPlace()
    data: str | None = option(None, DATA, metavar="PATH", parse=expanded_text)
    limit: int | None = option(None, "Use a fixed random choice of N images.", metavar="N", least=1)
    check: bool = option(
        True,
        "Compare its error on 64 of the images with a Gaussian's, and choose among readings.",
        "--check/--no-check",
    )
    trust: bool = option(False, "Run the program that the file is (TorchScript, torch.export).", "--trust")
    force: bool = option(False, "Replace what is already there.", "--force")
    reading: ReadingChoice = ReadingChoice()
    device: str = option("auto", "auto, cpu, cuda, cuda:1, ...", metavar="NAME", panel=RUNNING)
    seed: int = option(0, "Of the check's noise.", metavar="N", panel=RUNNING)
