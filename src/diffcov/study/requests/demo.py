"""What the demonstration can be asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diffcov.errors import UsageError
from diffcov.study.options import option
from diffcov.study.requests.shared import RUNNING, TRAINING

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
        "Run directory that the commands share.",
        "--run",
        metavar="DIR",
        environment="DIFFCOV_RUN",
        shown=f"{FIRST_RUN}, with --train {DEMO_RUN}",
    )
    iterations: int | None = option(
        None, "Iterations of the mean's training.", metavar="N", least=1, shown="the preset's", panel=TRAINING
    )
    head_iterations: int | None = option(
        None,
        "Iterations of the heads' fit, at most.",
        metavar="N",
        least=1,
        shown="as their images gain",
        panel=TRAINING,
    )
    samples: int | None = option(
        None,
        "Images at each single time of the variance table.",
        metavar="M",
        least=1,
        shown="as many as it needs",
        panel=TRAINING,
    )
    knot_samples: int | None = option(
        None,
        "Images at each knot of the spectrum.",
        metavar="M",
        least=1,
        shown="as many as it needs",
        panel=TRAINING,
    )
    force: bool = option(False, "Begin the training anew.", "--force", panel=TRAINING)
    count: int = option(200, "Samples of each sampler behind its distance.", metavar="N", least=1)
    device: str = option("auto", "auto, cpu, cuda, cuda:1, ...", metavar="NAME", panel=RUNNING)

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
