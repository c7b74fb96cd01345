"""What a search for the best sampler can be asked for."""

from __future__ import annotations

from dataclasses import dataclass

from diffcov.covariance.registry import COVARIANCES
from diffcov.store.paths import expanded_text
from diffcov.study.options import one_of, option, whole_numbers
from diffcov.study.requests.phrases import BATCH_SIZE, DATA, FORCE, GUIDANCE, RUNNING, SAMPLING, names
from diffcov.study.requests.pictures import PictureChoice
from diffcov.study.requests.shared import Features, Place, Running

__all__ = ["TuneRequest"]


@dataclass(frozen=True)
class TuneRequest:
    """A search over solvers, covariances, grids and their numbers, for some numbers of steps."""

    place: Place = Place()
    steps: tuple[int, ...] = option(
        (5, 10, 20),
        "Numbers of steps to find a sampler for; each gets a recipe of its own.",
        metavar="K,..",
        many=True,
        parse=whole_numbers("--steps", "5,10,20"),
    )
    covariances: tuple[str, ...] = option(
        (),
        f"Covariances to try, beside none at all: {names(list(COVARIANCES))}.",
        "--covariance",
        metavar="NAME,..",
        many=True,
        parse=one_of("--covariance", lambda: COVARIANCES),
        words=lambda: list(COVARIANCES),
        shown="all that the run holds",
    )
    starts: bool = option(
        True, "Also try samplers that start below T, from a draw of the Gaussian of the images.", "--starts/--no-starts"
    )
    minutes: float | None = option(
        None, "Stop trying after M minutes in all, all numbers of steps together.", metavar="M"
    )
    few: int = option(64, "Number of samples that every candidate is first judged by.", metavar="N", least=16)
    count: int = option(
        1000, "Number of samples that each finalist is judged by, on noise that chose nothing.", metavar="N", least=64
    )
    features: Features = Features()
    data: str | None = option(None, DATA, metavar="PATH", parse=expanded_text)
    pictures: PictureChoice = PictureChoice()
    force: bool = option(False, FORCE, "--force")
    guidance: float = option(1.0, GUIDANCE, metavar="W", panel=SAMPLING)
    batch_size: int = option(256, BATCH_SIZE, metavar="N", least=1, panel=RUNNING)
    seed: int = option(
        0, "Seed of everything random. Finalists are judged on the next one.", metavar="N", panel=RUNNING
    )
    running: Running = Running()
