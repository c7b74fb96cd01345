"""What judgements can be asked for: of covariances along one grid, and of everything side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from diffcov.covariance.registry import COVARIANCES
from diffcov.diffusion.grids import GRIDS
from diffcov.engines.recipe import LITERATURE, USUAL
from diffcov.solver.registry import SOLVERS
from diffcov.store.paths import expanded_text
from diffcov.study.options import one_of, option, whole_numbers
from diffcov.study.requests.phrases import BATCH_SIZE, DATA, FORCE, RUNNING, SAMPLING, SEED, names
from diffcov.study.requests.pictures import PictureChoice
from diffcov.study.requests.shared import ChosenSampler, Features, Place, Running, ViewChoice
from diffcov.study.requests.words import ALL, AUTO, NONE

__all__ = ["METRICS", "TUNED", "CompareRequest", "EvaluateRequest"]

METRICS = NLL, ODE, DISTANCES, CALIBRATION, EXPOSURE = "nll", "ode-nll", "distances", "calibration", "exposure"
"""What can be measured."""
TUNED = "tuned"
"""The recipes that tune found for this run."""
SPLIT = "Which part of the data set those images are taken from."
TEST_IF_THERE = "test if there is one"
COVARIANCES_HELP = f"Covariances to judge: auto, all, or some of {names(list(COVARIANCES))}."


def words() -> list[str]:
    """What completion offers for covariances."""
    return [AUTO, ALL, *COVARIANCES]


@dataclass(frozen=True)
class EvaluateRequest:
    """A judgement of covariances along one grid, or of one sampler."""

    place: Place = Place()
    metrics: tuple[str, ...] = option(
        ("nll",),
        "What to measure: nll (bits/dim of the chain), ode-nll (bits/dim of the probability flow), distances (fid, "
        "kid, precision, recall), calibration (predicted against measured variance), exposure (the drift of sampling).",
        metavar="NAME,..",
        many=True,
        parse=one_of("--metrics", lambda: METRICS),
        words=lambda: METRICS,
    )
    covariances: tuple[str, ...] = option(
        (AUTO,), COVARIANCES_HELP, "--covariance", metavar="NAME,..", many=True, parse=str, words=words
    )
    recipe: str | None = option(
        None,
        "A whole sampler instead, as sample takes it: a file that tune wrote, or one of the literature: "
        f"{names(list(LITERATURE))}.",
        metavar="NAME|PATH",
        parse=expanded_text,
        words=lambda: list(LITERATURE),
    )
    steps: int | None = option(
        None, "Number of steps, which is the number of network calls an image.", metavar="K", shown="50"
    )
    images: int = option(
        256, "Number of images that bits/dim, calibration and exposure are measured on.", metavar="N", least=1
    )
    split: Literal["train", "val", "test"] | None = option(None, SPLIT, shown=TEST_IF_THERE)
    data: str | None = option(None, DATA, metavar="PATH", parse=expanded_text)
    pictures: PictureChoice = PictureChoice()
    count: int = option(1000, "Number of samples to draw for distances.", metavar="N", least=1)
    features: Features = Features()
    sampler: ChosenSampler = ChosenSampler()
    view: ViewChoice = ViewChoice()
    batch_size: int = option(256, BATCH_SIZE, metavar="N", least=1, panel=RUNNING)
    seed: int = option(0, SEED, metavar="N", panel=RUNNING)
    running: Running = Running()

    def __post_init__(self) -> None:
        for metric in self.metrics:
            one_of("--metrics", lambda: METRICS)(metric)


@dataclass(frozen=True)
class CompareRequest:
    """Covariances x solvers x numbers of steps, side by side."""

    place: Place = Place()
    covariances: tuple[str, ...] = option(
        (ALL,), COVARIANCES_HELP, "--covariance", metavar="NAME,..", many=True, parse=str, words=words
    )
    steps: tuple[int, ...] = option(
        (5, 10, 25, 50),
        "Numbers of steps to compare.",
        metavar="K,..",
        many=True,
        parse=whole_numbers("--steps", "5,10,25"),
    )
    solvers: tuple[str, ...] = option(
        ("ddpm", "ddim"),
        f"Solvers that each covariance is tried with, some of {names(list(SOLVERS))}.",
        "--solver",
        "--process",
        metavar="NAME,..",
        many=True,
        parse=one_of("--solver", lambda: SOLVERS),
        words=lambda: list(SOLVERS),
        panel=SAMPLING,
    )
    samplers: tuple[str, ...] = option(
        (*USUAL, TUNED),
        f"Whole samplers (recipes) to draw beside them: {names(list(LITERATURE))}, {TUNED} (what diffcov tune found), "
        f"paths, or {NONE}.",
        metavar="NAME,..",
        many=True,
        none=NONE,
        parse=expanded_text,
        words=lambda: [*LITERATURE, TUNED],
        panel=SAMPLING,
    )
    grid: str = option(
        "even",
        f"Which of the T times the steps visit: {names(list(GRIDS))}.",
        "--grid",
        "--trajectory",
        metavar="NAME",
        words=lambda: list(GRIDS),
        panel=SAMPLING,
    )
    count: int = option(
        1000, "Number of samples of each covariance, solver and number of steps; 0 draws none.", metavar="N", least=0
    )
    images: int = option(256, "Number of images that likelihood and calibration are measured on.", metavar="N", least=1)
    split: Literal["train", "val", "test"] | None = option(None, SPLIT, shown=TEST_IF_THERE)
    data: str | None = option(None, DATA, metavar="PATH", parse=expanded_text)
    pictures: PictureChoice = PictureChoice()
    features: Features = Features()
    out: Path | None = option(None, "Folder for the report and all numbers.", metavar="DIR", shown="the run's compare/")
    force: bool = option(False, FORCE, "--force")
    view: ViewChoice = ViewChoice()
    batch_size: int = option(256, BATCH_SIZE, metavar="N", least=1, panel=RUNNING)
    seed: int = option(0, SEED, metavar="N", panel=RUNNING)
    running: Running = Running()
