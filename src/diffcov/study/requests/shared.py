"""Fields that several requests share, each declared once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from diffcov.diffusion.grids import GRIDS
from diffcov.engines.recipe import OF_SOLVER
from diffcov.errors import UsageError
from diffcov.solver.registry import SOLVERS
from diffcov.store.paths import expanded_text
from diffcov.study.options import option
from diffcov.study.requests.phrases import CLIP_X0, COMPILE, DEVICE, GUIDANCE, PRECISION, RUN, RUNNING, SAMPLING, names
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
    "refuse_beside_recipe",
]

DEFAULT_RUN = Path("runs/default")
FITTED: Literal["fitted"] = "fitted"
Eta = float | tuple[float, ...]
Scale = float | Literal["fitted"]
"""What eps_hat is divided by in samples: a number, or whatever gives samples the contrast of the data."""


@dataclass(frozen=True)
class RunPlace:
    """The run."""

    run: Path = option(DEFAULT_RUN, RUN, "--run", metavar="DIR", environment="DIFFCOV_RUN")


@dataclass(frozen=True)
class Place(RunPlace):
    """The run, and the program that its network needs, if any."""

    module: str | None = option(
        None,
        "The function that builds the network of the mean, where it is one of yours. Importing it runs its program.",
        metavar="PKG:FUNCTION",
        panel=RUNNING,
    )


@dataclass(frozen=True)
class Running:
    """Where and how precisely the network is computed."""

    device: str = option("auto", DEVICE, metavar="NAME", panel=RUNNING)
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

    clip_x0: bool = option(True, CLIP_X0, "--clip-x0/--no-clip-x0", panel=SAMPLING)
    eps_scale: Scale = option(
        1.0,
        "Divide eps_hat, the noise that the mean predicts, by this number. fitted finds the number with which samples "
        "have the contrast of the data.",
        metavar=f"X|{FITTED}",
        parse=scale,
        shown="1",
        words=lambda: ["1", FITTED],
        panel=SAMPLING,
    )
    guidance: float = option(1.0, GUIDANCE, metavar="W", panel=SAMPLING)


@dataclass(frozen=True)
class ChosenSampler:
    """One solver, its grid and where that begins."""

    solver: str = option(
        "ddpm",
        f"How a step is made: {names(list(SOLVERS))}.",
        "--solver",
        "--process",
        metavar="NAME",
        words=lambda: list(SOLVERS),
        panel=SAMPLING,
    )
    eta: Eta | None = option(
        None,
        "How much noise steps add: 0 is none, 1 is that of the Markov chain. One number, or one for each step, the "
        "noisiest step first.",
        metavar="X|X,X,..",
        joined=True,
        parse=eta,
        shown="the solver's own",
        panel=SAMPLING,
    )
    order: int | None = option(
        None,
        "Order of the solver: how many predictions of the network, earlier ones included, a step is made of.",
        metavar="N",
        least=1,
        shown="the solver's own",
        panel=SAMPLING,
    )
    weight: float | None = option(
        None,
        "Weight of the extrapolation from earlier predictions, from 0 to 4, for solvers of order 2 and more.",
        metavar="W",
        shown="1",
        panel=SAMPLING,
    )
    through: str | None = option(
        None,
        "Write the mean of a step through the noisy image x_t or the predicted noise eps_hat. The two differ where the "
        "predicted image x0_hat is clipped.",
        metavar="x_t|eps_hat",
        shown="the solver's own",
        words=lambda: ["x_t", "eps_hat"],
        panel=SAMPLING,
    )
    low_band: float | None = option(
        None,
        "How far the solver dcw pushes what is coarse (means of 2x2 pixels) away from the predicted image, 0 to 1.",
        metavar="X",
        shown="0.052",
        panel=SAMPLING,
    )
    high_band: float | None = option(
        None,
        "How far the solver dcw pushes what is fine (all the rest) away from the predicted image, 0 to 1.",
        metavar="X",
        shown="0.01",
        panel=SAMPLING,
    )
    share: float = option(
        1.0, "Share of the covariance that is put back as noise, from 0 to 1.", metavar="C", panel=SAMPLING
    )
    grid: str = option(
        "even",
        f"Which of the T times the steps visit: {names(list(GRIDS))}, optimal (found by diffcov trajectory), or the "
        "times themselves.",
        "--grid",
        "--trajectory",
        metavar="NAME|T,T,..",
        joined=True,
        words=lambda: [*GRIDS, "optimal"],
        panel=SAMPLING,
    )
    start: int | None = option(
        None,
        "Begin at this time instead of at T, with a draw from the Gaussian of the images. A named grid ends there.",
        metavar="T",
        least=1,
        shown="T, with pure noise",
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
        "What distances between sets of images are measured in: auto, pixels, spectrum, classifier, inception, or a "
        "TorchScript file that makes features.",
        metavar="NAME|FILE",
        parse=expanded_text,
        words=lambda: ["auto", "pixels", "spectrum", "classifier", "inception"],
    )
    reference: Path | None = option(
        None,
        "An npz with mu and sigma of features to compare with, instead of those of the training images.",
        metavar="NPZ",
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
