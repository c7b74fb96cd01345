"""What trainings can be asked for: of the mean, and of heads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from diffcov.covariance.registry import heads, unasked_heads
from diffcov.engines.training.losses import LOSSES
from diffcov.store.paths import expanded_text
from diffcov.study.options import one_of, option
from diffcov.study.requests.network import MemoryChoice, NetworkChoice
from diffcov.study.requests.phrases import DATA, DEVICE, LIMIT, RUNNING, TRAINING, names
from diffcov.study.requests.pictures import PictureChoice
from diffcov.study.requests.shared import Place, RunPlace
from diffcov.study.requests.training import (
    BudgetChoice,
    HeadBudgetChoice,
    HeadTrainingChoice,
    ResumeChoice,
    Rhythm,
    TrainingChoice,
    given,
)

__all__ = [
    "BudgetChoice",
    "FitRequest",
    "HeadBudgetChoice",
    "HeadChoice",
    "HeadTrainingChoice",
    "NetworkChoice",
    "ResumeChoice",
    "TrainRequest",
    "TrainingChoice",
    "given",
]


@dataclass(frozen=True)
class TrainRequest:
    """A training of a mean model."""

    place: RunPlace = RunPlace()
    network: NetworkChoice = NetworkChoice()
    pictures: PictureChoice = PictureChoice()
    resume: ResumeChoice = ResumeChoice()
    dry_run: bool = option(
        False, "Print all settings and the cost, for which a few iterations are timed, and stop.", "--dry-run"
    )
    budget: BudgetChoice = BudgetChoice()
    training: TrainingChoice = TrainingChoice()
    memory: MemoryChoice = MemoryChoice()
    device: str = option("auto", DEVICE, metavar="NAME", panel=RUNNING)
    rhythm: Rhythm = Rhythm()
    preview_minutes: float = option(
        1.0, "Minutes between two previews (sheets of samples); 0 draws none.", metavar="X", least=0, panel=RUNNING
    )


@dataclass(frozen=True)
class HeadChoice:
    """Which heads, on which images; None leaves it to the default and to the mean's own images."""

    kind: tuple[str, ...] | None = option(
        None,
        f"Kinds of variance heads: {names(list(heads()))}. Several are fitted together and share each network call.",
        shown=names(unasked_heads()),
        metavar="NAME,..",
        many=True,
        parse=one_of("--kind", heads),
        words=lambda: list(heads()),
    )
    loss: Literal["likelihood", "squared"] | None = option(
        None, "Loss that heads are fitted by. squared is the published form.", shown=next(iter(LOSSES))
    )
    head: Literal["simple", "complex", "stem"] | None = option(
        None,
        "Form of a head that works on pixels: one convolution (simple), a residual block before it (complex), or a "
        "convolution before that, for networks that offer no features (stem).",
        shown="complex",
    )
    data: str | None = option(None, DATA, metavar="PATH", parse=expanded_text)
    limit: int | None = option(None, LIMIT, metavar="N", least=1)
    guidance: float | None = option(
        None,
        "Fit on the mean at this weight of classifier-free guidance, for samples at the same.",
        metavar="W",
        shown="1",
    )


@dataclass(frozen=True)
class FitRequest:
    """A fit of variance heads on a frozen mean."""

    place: Place = Place()
    heads: HeadChoice = HeadChoice()
    pictures: PictureChoice = PictureChoice()
    resume: ResumeChoice = ResumeChoice()
    budget: HeadBudgetChoice = HeadBudgetChoice()
    patience: int | None = option(
        None,
        "Number of evaluations on held-out images without a gain after which a head is done; 0 holds no images out.",
        metavar="N",
        least=0,
        shown="4",
        panel=TRAINING,
    )
    training: HeadTrainingChoice = HeadTrainingChoice()
    device: str = option("auto", DEVICE, metavar="NAME", panel=RUNNING)
    rhythm: Rhythm = Rhythm()
