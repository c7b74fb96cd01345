"""What an export can be asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diffcov.covariance.registry import COVARIANCES
from diffcov.solver.registry import SOLVERS
from diffcov.study.options import option
from diffcov.study.requests.draw import AUTO
from diffcov.study.requests.shared import COVARIANCE, SAMPLING, Place, names

__all__ = ["ExportRequest"]


@dataclass(frozen=True)
class ExportRequest:
    """A run's mean and one covariance, in the form that diffusers reads."""

    place: Place = Place()
    out: Path | None = option(None, "Folder to write.", metavar="DIR")
    covariance: str = option(AUTO, COVARIANCE, metavar="NAME", words=lambda: [AUTO, *COVARIANCES])
    solver: str = option(
        "ddpm", f"{names(list(SOLVERS))}.", metavar="NAME", words=lambda: list(SOLVERS), panel=SAMPLING
    )
    eta: float | None = option(None, "Noise of ddim, 0..1.", metavar="X", shown="0", panel=SAMPLING)
    clip_x0: bool = option(True, "Keep x0_hat in the data's range.", "--clip-x0/--no-clip-x0", panel=SAMPLING)
    force: bool = option(False, "Replace what is already there.", "--force")
