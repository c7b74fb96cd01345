"""What any training can be asked for: of the mean, or of heads."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from diffcov.engines.training.preset_values import HEAD_VALUES, preset_values, value_text
from diffcov.study.options import option, told_otherwise
from diffcov.study.requests.phrases import COMPILE, FORCE, PRECISION, RUNNING, SEED, TRAINING

__all__ = [
    "BudgetChoice",
    "HeadBudgetChoice",
    "HeadTrainingChoice",
    "ResumeChoice",
    "Rhythm",
    "TrainingChoice",
    "given",
]


def given(choice: Any) -> dict[str, Any]:
    """The fields of a choice that were set, by name; a tuple as a list, as settings keep it."""
    found = {one.name: getattr(choice, one.name) for one in fields(choice)}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in found.items() if v is not None}


@dataclass(frozen=True)
class BudgetChoice:
    """When to stop: whichever comes first."""

    iterations: int | None = option(
        None,
        "Stop after N iterations in all, those of earlier calls included.",
        metavar="N",
        least=1,
        shown=preset_values("iterations"),
        panel=TRAINING,
    )
    minutes: float | None = option(
        None,
        "Stop after X minutes of training in all, those of earlier calls included: the total, not what is added.",
        metavar="X",
        panel=TRAINING,
    )


@dataclass(frozen=True)
class HeadBudgetChoice(BudgetChoice):
    """The same for a fit of heads."""

    iterations: int | None = told_otherwise(
        BudgetChoice, "iterations", shown="20 looks at each image and 100,000 at least"
    )
    minutes: float | None = told_otherwise(BudgetChoice, "minutes", shown="20, where nothing is given")


@dataclass(frozen=True)
class TrainingChoice:
    """Settings of a training; None leaves one to the preset, or to what suits heads."""

    batch_size: int | None = option(
        None, "Images in each iteration.", metavar="N", shown=preset_values("batch_size"), panel=TRAINING
    )
    lr: float | None = option(
        None, "Learning rate of the optimiser, AdamW.", metavar="X", shown=preset_values("lr"), panel=TRAINING
    )
    warmup: int | None = option(
        None,
        "Iterations at the beginning in which the learning rate rises from 0.",
        metavar="N",
        shown=preset_values("warmup"),
        panel=TRAINING,
    )
    weight_decay: float | None = option(
        None, "Weight decay of the optimiser, AdamW.", metavar="X", shown=preset_values("weight_decay"), panel=TRAINING
    )
    clip_norm: float | None = option(
        None,
        "Largest norm of the gradient; larger ones are scaled down to it. 0 scales none.",
        metavar="X",
        shown=preset_values("clip_norm"),
        panel=TRAINING,
    )
    ema_decay: float | None = option(
        None,
        "Largest decay of the average of the weights, which is the model that is kept.",
        metavar="X",
        shown=preset_values("ema_decay"),
        panel=TRAINING,
    )
    flip: bool | None = option(
        None,
        "Mirror half of the images left to right.",
        "--flip/--no-flip",
        shown=preset_values("flip"),
        panel=TRAINING,
    )
    precision: Literal["auto", "fp32", "bf16"] | None = option(None, PRECISION, shown="fp32", panel=RUNNING)
    compile: Literal["auto", "on", "off"] | None = option(None, COMPILE, shown="auto", panel=RUNNING)
    seed: int | None = option(None, SEED, metavar="N", shown="0", panel=RUNNING)


def _of_heads(name: str) -> Any:
    return told_otherwise(TrainingChoice, name, shown=value_text(HEAD_VALUES[name]))


@dataclass(frozen=True)
class HeadTrainingChoice(TrainingChoice):
    """The same for a fit of heads."""

    batch_size: int | None = _of_heads("batch_size")
    lr: float | None = _of_heads("lr")
    warmup: int | None = _of_heads("warmup")
    weight_decay: float | None = _of_heads("weight_decay")
    clip_norm: float | None = _of_heads("clip_norm")
    ema_decay: float | None = _of_heads("ema_decay")
    flip: bool | None = told_otherwise(TrainingChoice, "flip", shown="as its mean was trained")
    precision: Literal["auto", "fp32", "bf16"] | None = told_otherwise(
        TrainingChoice, "precision", shown="the mean's own"
    )


@dataclass(frozen=True)
class ResumeChoice:
    """Whether to go on with an earlier training, and how freely."""

    resume: bool = option(False, "Go on where an earlier call stopped, with its options.", "--resume")
    override: tuple[str, ...] = option(
        (),
        "With --resume: options, such as lr, that may differ from those of the earlier call.",
        metavar="OPTION,..",
        many=True,
        parse=str,
    )
    force: bool = option(False, FORCE, "--force")


@dataclass(frozen=True)
class Rhythm:
    """How often a training speaks and saves."""

    log_every: int = option(20, "Iterations between two lines of the log.", metavar="N", least=1, panel=RUNNING)
    save_minutes: float = option(
        2.0, "Minutes between two saves of the state, from which --resume goes on.", metavar="X", least=0, panel=RUNNING
    )
