"""What an import of a published model can be asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from diffcov.denoiser.parametrisation import PARAMETRISATIONS
from diffcov.errors import UsageError
from diffcov.store.paths import expanded_text
from diffcov.study.options import option, whole_numbers
from diffcov.study.requests.phrases import DATA, DEVICE, FORCE, LIMIT, RUNNING, names
from diffcov.study.requests.shared import RunPlace

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
        None, "Noise schedule of the model, with its usual first and last beta.", panel=READING
    )
    timesteps: int | None = option(
        None, "Number T of time steps of that schedule.", metavar="T", least=1, panel=READING
    )
    time_offset: float | None = option(
        None,
        "What is subtracted from the time t = 1..T before the network sees it; 1 if the network counts from 0.",
        metavar="X",
        panel=READING,
    )
    time_scale: float | None = option(None, "What the time is multiplied by after that.", metavar="X", panel=READING)
    head: str | None = option(
        None,
        "Which covariance a second output of the network (a variance head, out2) is for: npr, sn or ocm.",
        metavar="NAME",
        words=lambda: ["npr", "sn", "ocm"],
        panel=READING,
    )
    size: tuple[int, ...] | None = option(
        None, "Height and width of the images in pixels.", metavar="H,W", many=True,
        parse=whole_numbers("--size", "32,32"), panel=READING,
    )  # fmt: skip
    range: tuple[float, ...] | None = option(
        None, "The values that black and white have for the network.", metavar="LOW,HIGH", many=True, parse=edge,
        shown="-1,1", panel=READING,
    )  # fmt: skip


@dataclass(frozen=True)
class ImportRequest:
    """A published model to be made a run's mean."""

    source: Path | None = option(
        None,
        "The model: a file, a folder, or its name on the hub; or a table of norms (ms_eps) of a mean that is there.",
        metavar="SOURCE",
        argument=True,
    )
    place: RunPlace = RunPlace()
    data: str | None = option(None, DATA, metavar="PATH", parse=expanded_text)
    limit: int | None = option(None, LIMIT, metavar="N", least=1)
    check: bool = option(
        True,
        "Compare its error on 64 images with that of a Gaussian, and choose how to read what the files leave open.",
        "--check/--no-check",
    )
    trust: bool = option(
        False, "Run the program that the file is (TorchScript, torch.export), because you trust it.", "--trust"
    )
    force: bool = option(False, FORCE, "--force")
    reading: ReadingChoice = ReadingChoice()
    device: str = option("auto", DEVICE, metavar="NAME", panel=RUNNING)
    seed: int = option(0, "Seed of the noise that the check adds.", metavar="N", panel=RUNNING)
