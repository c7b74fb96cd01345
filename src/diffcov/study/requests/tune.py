"""What a search for the best sampler can be asked for."""

from __future__ import annotations

from dataclasses import dataclass

from diffcov.covariance.registry import COVARIANCES
from diffcov.store.paths import expanded_text
from diffcov.study.options import one_of, option, whole_numbers
from diffcov.study.requests.pictures import PictureChoice
from diffcov.study.requests.shared import DATA, RUNNING, SAMPLING, Features, Place, Running, names

__all__ = ["TuneRequest"]


@dataclass(frozen=True)
class TuneRequest:
    """A search over solvers, covariances, grids and their numbers, for some numbers of steps."""

    place: Place = Place()
    steps: tuple[int, ...] = option(
        (5, 10, 20),
        "Numbers of steps, a recipe each.",
        metavar="K,..",
        many=True,
        parse=whole_numbers("--steps", "5,10,20"),
    )
    covariances: tuple[str, ...] = option(
        (),
        f"Try these alone, and none; all that the run holds if not given: {names(list(COVARIANCES))}.",
        "--covariance",
        metavar="NAME,..",
        many=True,
        parse=one_of("--covariance", lambda: COVARIANCES),
        words=lambda: list(COVARIANCES),
    )
    starts: bool = option(
        True, "Also try walks that start below T, from the Gaussian of the images.", "--starts/--no-starts"
    )
    minutes: float | None = option(None, "Stop trying after this long, all steps together.", metavar="M")
    few: int = option(64, "Samples of every candidate.", metavar="N", least=16)
    count: int = option(1000, "Samples of each finalist, on noise that chose nothing.", metavar="N", least=64)
    features: Features = Features()
    data: str | None = option(None, DATA, metavar="PATH", parse=expanded_text)
    pictures: PictureChoice = PictureChoice()
    force: bool = option(False, "Replace what is already there.", "--force")
    guidance: float = option(1.0, "W of classifier-free guidance.", metavar="W", panel=SAMPLING)
    batch_size: int = option(256, "Images a network call.", metavar="N", least=1, panel=RUNNING)
    seed: int = option(0, "Of everything random; finalists are judged on the next one.", metavar="N", panel=RUNNING)
    running: Running = Running()
