"""What the demonstration can be asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diffcov.errors import UsageError
from diffcov.study.options import option
from diffcov.study.requests.phrases import DEVICE, RUN, RUNNING, TRAINING

__all__ = ["DEMO_RUN", "FIRST_RUN", "DemoRequest"]

FIRST_RUN = Path("runs/clothes")
"""Where the mean that the package brings is put."""
DEMO_RUN = Path("runs/demo")
"""Where one is trained."""


@dataclass(frozen=True)
class DemoRequest:
    """A picture with the mean that the package brings, or everything on the embedded digits.

    Raises:
        UsageError: options of the training without it.
    """

    train: bool = option(
        False, "Do everything on the embedded digits instead: train, measure, fit, tune, compare.", "--train"
    )
    run: Path | None = option(
        None,
        RUN,
        "--run",
        metavar="DIR",
        shown=f"{FIRST_RUN}, with --train {DEMO_RUN}",
    )
    iterations: int | None = option(
        None, "Iterations that the mean is trained for.", metavar="N", least=1, shown="the preset's", panel=TRAINING
    )
    head_iterations: int | None = option(
        None,
        "Iterations that the variance heads are fitted for, at most.",
        metavar="N",
        least=1,
        shown="until held-out images gain no more",
        panel=TRAINING,
    )
    samples: int | None = option(
        None,
        "Images measured at each single time of the variance table.",
        metavar="M",
        least=1,
        shown="as many as it needs",
        panel=TRAINING,
    )
    knot_samples: int | None = option(
        None,
        "Images measured at each knot (a time at which the spectrum is measured).",
        metavar="M",
        least=1,
        shown="as many as it needs",
        panel=TRAINING,
    )
    force: bool = option(False, "Begin the training anew, and replace what is there.", "--force", panel=TRAINING)
    count: int = option(
        200, "Number of samples that the distance of each sampler is measured on.", metavar="N", least=1
    )
    device: str = option("auto", DEVICE, metavar="NAME", panel=RUNNING)

    @property
    def where(self) -> Path:
        """The run. A demonstration has one of its own unless it is told one: none is made in a run of one's own."""
        return self.run or (DEMO_RUN if self.train else FIRST_RUN)

    def __post_init__(self) -> None:
        given = {
            "--iterations": self.iterations,
            "--head-iterations": self.head_iterations,
            "--samples": self.samples,
            "--knot-samples": self.knot_samples,
            "--force": self.force or None,
        }
        beside = [name for name, value in given.items() if value is not None]
        if beside and not self.train:
            raise UsageError(
                f"{', '.join(beside)} is of a training, and without --train nothing is trained; add --train"
            )
