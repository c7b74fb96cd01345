"""What the demonstration can be asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diffcov.study.options import option
from diffcov.study.requests.shared import RUNNING, TRAINING

__all__ = ["DemoRequest"]


@dataclass(frozen=True)
class DemoRequest:
    """Everything on the embedded digits."""

    run: Path = option(
        Path("runs/demo"),
        "Run directory that the commands share.",
        "--run",
        metavar="DIR",
        environment="DIFFCOV_RUN",
    )
    iterations: int | None = option(None, "Of the mean.", metavar="N", least=1, shown="the preset's", panel=TRAINING)
    head_iterations: int | None = option(
        None, "Of the heads, at most.", metavar="N", least=1, shown="as their images gain", panel=TRAINING
    )
    samples: int | None = option(
        None, "Images at each single time of the variance table.", metavar="M", least=1, shown="as many as it needs"
    )
    knot_samples: int | None = option(
        None, "Images at each knot of the spectrum.", metavar="M", least=1, shown="as many as it needs"
    )
    count: int = option(200, "Samples a cell of the tables.", metavar="N", least=1)
    force: bool = option(False, "Begin anew.", "--force")
    device: str = option("auto", "auto, cpu, cuda, cuda:1, ...", metavar="NAME", panel=RUNNING)
