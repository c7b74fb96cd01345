"""Fields that several requests share, each declared once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from diffcov.covariance.registry import COVARIANCES
from diffcov.diffusion.grids import GRIDS
from diffcov.engines.recipe import OF_SOLVER
from diffcov.errors import UsageError
from diffcov.solver.registry import SOLVERS
from diffcov.store.paths import expanded_text
from diffcov.study.options import option
from diffcov.study.requests.words import AUTO

__all__ = [
    "DEFAULT_RUN",
    "FITTED",
    "ChosenSampler",
    "Features",
    "Place",
    "RunPlace",
    "Running",
    "Scale",
    "ViewChoice",
    "decided_by_recipe",
    "guided",
    "names",
    "refuse_beside_recipe",
]

RUNNING = "Running"
SAMPLING = "Sampling"
TRAINING = "Training"
NETWORK = "Network"
"""Panels of the help text."""

DEFAULT_RUN = Path("runs/default")
FITTED: Literal["fitted"] = "fitted"
Eta = float | tuple[float, ...]
Scale = float | Literal["fitted"]
"""What eps_hat is divided by in samples: a number, or whatever gives samples the contrast of the data."""


def names(first: Sequence[str]) -> str:
    """Names in a row, for a help text."""
    return ", ".join(first)


PRECISION = "Inside of the network; all else is float32 or better. auto: bf16 where that is quicker, by trying."
COMPILE = "Compile the network. auto: where the work is long and it is quicker, by trying; off also keeps its layout."


@dataclass(frozen=True)
class RunPlace:
    """The run."""

    run: Path = option(
        DEFAULT_RUN, "Run directory that the commands share.", "--run", metavar="DIR", environment="DIFFCOV_RUN"
    )


@dataclass(frozen=True)
class Place(RunPlace):
    """The run, and the program that its network needs, if any."""

    module: str | None = option(
        None,
        "The function that builds the mean's network, where it is one of yours: importing it runs its program.",
        metavar="PKG:FUNCTION",
        panel=RUNNING,
    )


@dataclass(frozen=True)
class Running:
    """Where and how precisely the network is computed."""

    device: str = option("auto", "auto, cpu, cuda, cuda:1, ...", metavar="NAME", panel=RUNNING)
    precision: Literal["auto", "fp32", "bf16"] | None = option(None, PRECISION, shown="the mean's own", panel=RUNNING)
    compile: Literal["auto", "on", "off"] = option("auto", COMPILE, panel=RUNNING)


def scale(text: str) -> Scale:
    """A positive number, or the word; UsageError for anything else."""
    if text == FITTED:
        return FITTED
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise UsageError(f"--eps-scale must be a positive number or {FITTED}, found {text!r}")
    return number


def eta(text: str) -> float | tuple[float, ...]:
    """One number, or several with commas between; UsageError for anything else."""
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--eta takes a number, or one a step such as 1,0.5,0; found {text!r}") from None
    return numbers[0] if len(numbers) == 1 else numbers


@dataclass(frozen=True)
class ViewChoice:
    """What samples see the mean through."""

    clip_x0: bool = option(True, "Keep x0_hat in the data's range.", "--clip-x0/--no-clip-x0", panel=SAMPLING)
    eps_scale: Scale = option(
        1.0,
        "Divide eps_hat in the mean: a number, or fitted, so that samples have the contrast of the data.",
        metavar=f"X|{FITTED}",
        parse=scale,
        shown="1",
        words=lambda: ["1", FITTED],
        panel=SAMPLING,
    )
    guidance: float = option(
        1.0, "W of classifier-free guidance, two network calls a step; 1: none.", metavar="W", panel=SAMPLING
    )


@dataclass(frozen=True)
class ChosenSampler:
    """One solver, its grid and where that begins."""

    solver: str = option(
        "ddpm",
        f"{names(list(SOLVERS))}.",
        "--solver",
        "--process",
        metavar="NAME",
        words=lambda: list(SOLVERS),
        panel=SAMPLING,
    )
    eta: Eta | None = option(
        None,
        "Noise that steps keep: 0 none, 1 the Markov chain's; one number, or one a step from the noise on.",
        metavar="X|X,X,..",
        parse=eta,
        shown="the solver's own",
        panel=SAMPLING,
    )
    order: int | None = option(
        None, "Looks that a step is made of.", metavar="N", least=1, shown="the solver's own", panel=SAMPLING
    )
    weight: float | None = option(
        None, "W of the extrapolation from earlier looks, 0..4.", metavar="W", shown="1", panel=SAMPLING
    )
    through: str | None = option(
        None,
        "Write the mean through x_t or eps_hat; they differ where x0_hat is clipped.",
        metavar="x_t|eps_hat",
        shown="the solver's own",
        words=lambda: ["x_t", "eps_hat"],
        panel=SAMPLING,
    )
    low_band: float | None = option(
        None,
        "How far dcw pushes what is coarse, means of 2x2 pixels, away from x0_hat; 0..1.",
        metavar="X",
        shown="0.052",
        panel=SAMPLING,
    )
    high_band: float | None = option(
        None, "How far dcw pushes what is fine, the rest, 0..1.", metavar="X", shown="0.01", panel=SAMPLING
    )
    share: float = option(
        1.0, "C, the share of the covariance that is put back as noise, 0..1.", metavar="C", panel=SAMPLING
    )
    grid: str = option(
        "even",
        f"Which times: {names(list(GRIDS))}, optimal (see trajectory), or a list of them.",
        "--grid",
        "--trajectory",
        metavar="NAME|T,T,..",
        words=lambda: [*GRIDS, "optimal"],
        panel=SAMPLING,
    )
    start: int | None = option(
        None,
        "Begin at this time in the place of T, with a draw from the Gaussian of the images; a named grid ends there.",
        metavar="T",
        least=1,
        shown="noise",
        panel=SAMPLING,
    )

    @property
    def of_solver(self) -> dict[str, Any]:
        """What is told to the solver."""
        return {name: getattr(self, name) for name in OF_SOLVER}


@dataclass(frozen=True)
class Features:
    """Where distances are taken, and to what."""

    features: str = option(
        "auto",
        "Where distances are taken: auto, pixels, spectrum, classifier, inception, or a TorchScript file.",
        metavar="NAME|FILE",
        parse=expanded_text,
        words=lambda: ["auto", "pixels", "spectrum", "classifier", "inception"],
    )
    reference: Path | None = option(
        None, "mu and sigma to compare with, instead of the training images.", metavar="NPZ"
    )


def decided_by_recipe(sampler: ChosenSampler, covariance: str, clip_x0: bool, eps_scale: Scale) -> list[str]:
    """The options of a request that were chosen and that a recipe would decide, as a message names them."""
    view = ViewChoice()
    chosen = {
        "--solver, --grid or their numbers": sampler != ChosenSampler(),
        "--covariance": covariance != AUTO,
        "--eps-scale or --clip-x0": (clip_x0, eps_scale) != (view.clip_x0, view.eps_scale),
    }
    return [names for names, told in chosen.items() if told]


def refuse_beside_recipe(besides: Sequence[str], name: str) -> None:
    """Refuse (UsageError) options, from :func:`decided_by_recipe`, beside a recipe that was asked for by its name."""
    if besides:
        raise UsageError(f"a recipe decides {besides[0]}: leave that out, or --recipe {name}")


def guided(W: float) -> str:
    """How a command says W of its guidance, with a space before it; nothing for 1, which is what it does unasked."""
    return "" if W == 1 else f" --guidance {W:g}"


DATA = "Images: 'digits', a folder or zip of images, .npy/.npz, idx(.gz), parquet, a CIFAR archive."
COVARIANCE = f"auto (what compare found best, else by an order), {names(list(COVARIANCES))}."
