"""What an export can be asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from diffcov.covariance.registry import COVARIANCES
from diffcov.engines.recipe import LITERATURE
from diffcov.errors import UsageError
from diffcov.store.paths import expanded_text
from diffcov.study.options import option
from diffcov.study.requests.phrases import CLIP_X0, COVARIANCE, FORCE, SAMPLING, names
from diffcov.study.requests.shared import ChosenSampler, Place
from diffcov.study.requests.words import AUTO

__all__ = ["ExportRequest"]


def positive(text: str) -> float:
    """A positive number; UsageError for anything else."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise UsageError(
            f"--eps-scale must be a positive number, found {text!r}; a fitted one is in the manifest of its samples "
            "(eps_scale_value)"
        )
    return number


@dataclass(frozen=True)
class ExportRequest:
    """A run's mean and one sampler, in the form that diffusers reads."""

    place: Place = Place()
    out: Path | None = option(None, "Folder to write, which must not be there yet.", metavar="DIR")
    covariance: str = option(AUTO, COVARIANCE, metavar="NAME", words=lambda: [AUTO, *COVARIANCES])
    recipe: str | None = option(
        None,
        f"A whole sampler by name: a file that tune wrote, or one of the literature: {names(list(LITERATURE))}.",
        metavar="NAME|PATH",
        parse=expanded_text,
        words=lambda: list(LITERATURE),
    )
    steps: int | None = option(
        None, "Number of steps that the pipeline takes where it is not told any.", metavar="K", least=1
    )
    sampler: ChosenSampler = ChosenSampler()
    clip_x0: bool = option(True, CLIP_X0, "--clip-x0/--no-clip-x0", panel=SAMPLING)
    eps_scale: float = option(
        1.0,
        "Divide eps_hat, the noise that the mean predicts, by this number.",
        metavar="X",
        parse=positive,
        shown="1",
        panel=SAMPLING,
    )
    force: bool = option(False, FORCE, "--force")
