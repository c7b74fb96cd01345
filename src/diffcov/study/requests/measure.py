"""What measurements can be asked for: of statistics, and of the best times."""

from __future__ import annotations

from dataclasses import dataclass

from diffcov.covariance.registry import COVARIANCES
from diffcov.diffusion.grids import GRIDS
from diffcov.store.paths import expanded_text
from diffcov.study.options import option
from diffcov.study.requests.pictures import PictureChoice
from diffcov.study.requests.shared import COVARIANCE, DATA, RUNNING, SAMPLING, Place, Running, names
from diffcov.study.requests.words import AUTO

SINGLE = "Each time for itself"

__all__ = ["EstimateRequest", "SearchRequest"]


@dataclass(frozen=True)
class EstimateRequest:
    """A measurement of what the mean leaves uncertain."""

    place: Place = Place()
    data: str | None = option(None, DATA, metavar="PATH", parse=expanded_text)
    pictures: PictureChoice = PictureChoice()
    limit: int | None = option(None, "Use a fixed random choice of N images.", metavar="N", least=1)
    rtol: float | None = option(
        None,
        "End at this relative standard error of E||eps - eps_hat||^2 at all times, five times it for a band.",
        metavar="X",
        shown="0.01, where no budget is given",
    )
    calls: int | None = option(
        None, "End after N images through the network.", metavar="N", least=1, shown="10000, where no --rtol is given"
    )
    minutes: float | None = option(None, "End after M minutes.", metavar="M", least=0)
    samples: int | None = option(
        None, "Measure M images at each single time, for the table.", metavar="M", least=1, panel=SINGLE, shown="25"
    )
    steps: int | None = option(
        None, "Measure only the K times of a grid.", metavar="K", least=1, panel=SINGLE, shown="all"
    )
    grid: str | None = option(
        None,
        f"{names(list(GRIDS))} with --steps, or a list of times.",
        "--grid",
        "--trajectory",
        metavar="NAME|T,T,..",
        panel=SINGLE,
        shown="even",
    )
    knots: int | None = option(
        None,
        "Times at which the spectrum is measured, even in log-SNR.",
        metavar="N",
        least=2,
        panel=SINGLE,
        shown="32",
    )
    knot_samples: int | None = option(
        None, "Images measured at each knot; 0: no spectrum.", metavar="M", least=0, panel=SINGLE, shown="1000"
    )
    full: bool | None = option(
        None, "Measure all pairs of values too.", "--full/--no-full", shown="images of up to 256 values"
    )
    guidance: float = option(1.0, "Measure the mean guided by this W, for samples at the same W.", metavar="W")
    add: bool = option(False, "Add more images to what is there.", "--add")
    force: bool = option(False, "Replace what is already there.", "--force")
    batch_size: int = option(256, "Images a network call.", metavar="N", least=1, panel=RUNNING)
    seed: int | None = option(None, "Seed of everything random.", metavar="N", panel=RUNNING)
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
    images: int = option(25, "Images to measure the terms on.", metavar="N", least=1)
    candidates: int | None = option(None, "Search among M even times.", metavar="M", least=1, shown="all T")
    data: str | None = option(None, DATA, metavar="PATH", parse=expanded_text)
    pictures: PictureChoice = PictureChoice()
    force: bool = option(False, "Replace what is already there.", "--force")
    clip_x0: bool = option(True, "Keep x0_hat in the data's range.", "--clip-x0/--no-clip-x0", panel=SAMPLING)
    guidance: float = option(1.0, "Guide the mean by this W, for samples at the same W.", metavar="W", panel=SAMPLING)
    batch_size: int = option(256, "Images a network call.", metavar="N", least=1, panel=RUNNING)
    seed: int = option(0, "Of everything random.", metavar="N", panel=RUNNING)
    running: Running = Running()
