"""What measurements can be asked for: of statistics, and of the best times."""

from __future__ import annotations

from dataclasses import dataclass

from diffcov.covariance.registry import COVARIANCES
from diffcov.diffusion.grids import GRIDS
from diffcov.store.paths import expanded_text
from diffcov.study.options import option
from diffcov.study.requests.phrases import (
    BATCH_SIZE,
    CLIP_X0,
    COVARIANCE,
    DATA,
    FORCE,
    LIMIT,
    RUNNING,
    SAMPLING,
    SEED,
    names,
)
from diffcov.study.requests.pictures import PictureChoice
from diffcov.study.requests.shared import Place, Running
from diffcov.study.requests.words import AUTO

SINGLE = "Each time for itself"

__all__ = ["EstimateRequest", "SearchRequest"]


@dataclass(frozen=True)
class EstimateRequest:
    """A measurement of what the mean leaves uncertain."""

    place: Place = Place()
    data: str | None = option(None, DATA, metavar="PATH", parse=expanded_text)
    pictures: PictureChoice = PictureChoice()
    limit: int | None = option(None, LIMIT, metavar="N", least=1)
    rtol: float | None = option(
        None,
        "End once the mean square error of the predicted noise has this relative standard error at every time, and "
        "five times it in every frequency band.",
        metavar="X",
        shown="0.01, where no budget is given",
    )
    calls: int | None = option(
        None,
        "End after N images have gone through the network.",
        metavar="N",
        least=1,
        shown="10000, where no --rtol is given",
    )
    minutes: float | None = option(None, "End after M minutes in all.", metavar="M", least=0)
    samples: int | None = option(
        None,
        "Measure M images at each single time, for the table of variances by time.",
        metavar="M",
        least=1,
        panel=SINGLE,
        shown="25",
    )
    steps: int | None = option(
        None, "Measure only the K times of a grid, and not all T.", metavar="K", least=1, panel=SINGLE, shown="all"
    )
    grid: str | None = option(
        None,
        f"Which times are measured: {names(list(GRIDS))} with --steps, or the times themselves.",
        "--grid",
        "--trajectory",
        metavar="NAME|T,T,..",
        joined=True,
        panel=SINGLE,
        shown="even",
    )
    knots: int | None = option(
        None,
        "Number of knots: times at which the spectrum (the error at each frequency) is measured, even in log-SNR.",
        metavar="N",
        least=2,
        panel=SINGLE,
        shown="32",
    )
    knot_samples: int | None = option(
        None, "Images measured at each knot; 0 measures no spectrum.", metavar="M", least=0, panel=SINGLE, shown="1000"
    )
    full: bool | None = option(
        None,
        "Measure the errors of all pairs of values too, for the covariance called full.",
        "--full/--no-full",
        shown="for images of up to 256 values",
    )
    guidance: float = option(
        1.0, "Measure the mean at this weight of classifier-free guidance, for samples at the same.", metavar="W"
    )
    add: bool = option(False, "Measure more images, and add them to what is there.", "--add")
    force: bool = option(False, FORCE, "--force")
    batch_size: int = option(256, BATCH_SIZE, metavar="N", least=1, panel=RUNNING)
    seed: int | None = option(None, SEED, metavar="N", shown="0", panel=RUNNING)
    running: Running = Running()

    @property
    def single_times(self) -> bool:
        """Whether each time is to be measured for itself, as published tables are."""
        told = (self.samples, self.steps, self.grid, self.knots, self.knot_samples)
        return any(one is not None for one in told)


@dataclass(frozen=True)
class SearchRequest:
    """A search of the times with the best likelihood, for every number of steps."""

    place: Place = Place()
    covariance: str = option(AUTO, COVARIANCE, metavar="NAME", words=lambda: [AUTO, *COVARIANCES])
    images: int = option(25, "Number of images that the likelihood is measured on.", metavar="N", least=1)
    candidates: int | None = option(None, "Search among M evenly spaced times.", metavar="M", least=1, shown="all T")
    data: str | None = option(None, DATA, metavar="PATH", parse=expanded_text)
    pictures: PictureChoice = PictureChoice()
    force: bool = option(False, FORCE, "--force")
    clip_x0: bool = option(True, CLIP_X0, "--clip-x0/--no-clip-x0", panel=SAMPLING)
    guidance: float = option(
        1.0, "Weight of classifier-free guidance, for samples at the same.", metavar="W", panel=SAMPLING
    )
    batch_size: int = option(256, BATCH_SIZE, metavar="N", least=1, panel=RUNNING)
    seed: int = option(0, SEED, metavar="N", panel=RUNNING)
    running: Running = Running()
