"""What trainings can be asked for: the mean's and the heads'."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from diffcov.covariance.registry import heads, unasked_heads
from diffcov.denoiser.parametrisation import PARAMETRISATIONS
from diffcov.engines.training.losses import LOSSES
from diffcov.store.paths import expanded_text
from diffcov.study.options import one_of, option, whole_numbers
from diffcov.study.requests.pictures import PictureChoice
from diffcov.study.requests.shared import COMPILE, DATA, NETWORK, PRECISION, RUNNING, TRAINING, Place, RunPlace, names

__all__ = [
    "BudgetChoice",
    "FitRequest",
    "HeadChoice",
    "NetworkChoice",
    "ResumeChoice",
    "TrainRequest",
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

    iterations: int | None = option(None, "Stop after this many.", metavar="N", least=1, panel=TRAINING)
    minutes: float | None = option(None, "Stop after this long.", metavar="X", panel=TRAINING)


@dataclass(frozen=True)
class TrainingChoice:
    """Settings of a training; None leaves one to the preset, or to what suits heads."""

    batch_size: int | None = option(None, "Images an iteration.", metavar="N", panel=TRAINING)
    lr: float | None = option(None, "AdamW's learning rate.", metavar="X", panel=TRAINING)
    warmup: int | None = option(None, "Iterations in which the rate rises.", metavar="N", panel=TRAINING)
    weight_decay: float | None = option(None, "AdamW's decay.", metavar="X", panel=TRAINING)
    clip_norm: float | None = option(None, "Largest gradient norm; 0: no clip.", metavar="X", panel=TRAINING)
    ema_decay: float | None = option(None, "Decay of the weight average.", metavar="X", panel=TRAINING)
    flip: bool | None = option(None, "Mirror half of the images.", "--flip/--no-flip", panel=TRAINING)
    precision: Literal["auto", "fp32", "bf16"] | None = option(None, PRECISION, panel=RUNNING)
    compile: Literal["auto", "on", "off"] | None = option(None, COMPILE, shown="auto", panel=RUNNING)
    seed: int | None = option(None, "Seed of everything random.", metavar="N", panel=RUNNING)


@dataclass(frozen=True)
class ResumeChoice:
    """Whether to go on with an earlier training, and how freely."""

    resume: bool = option(False, "Go on where an earlier call stopped.", "--resume")
    override: tuple[str, ...] = option(
        (), "With --resume: accept that this option differs.", metavar="OPTION", many=True, parse=str
    )
    force: bool = option(False, "Replace what is already there.", "--force")


@dataclass(frozen=True)
class Rhythm:
    """How often a training speaks and saves."""

    log_every: int = option(20, "Iterations between log lines.", metavar="N", least=1, panel=RUNNING)
    save_minutes: float = option(2.0, "Time between saves of the state.", metavar="X", least=0, panel=RUNNING)


@dataclass(frozen=True)
class NetworkChoice:
    """What is trained; None leaves it to the preset, and the images to the digits."""

    data: str | None = option(None, DATA, metavar="PATH", parse=expanded_text)
    limit: int | None = option(None, "Use a fixed random choice of N images.", metavar="N", least=1)
    preset: Literal["small", "digits", "mnist", "cifar10"] | None = option(
        None, "Network and training settings; chosen by the images and the device when not given."
    )
    predict: str | None = option(
        None,
        f"What the network predicts: {'; '.join(f'{name}, {one.summary}' for name, one in PARAMETRISATIONS.items())}.",
        metavar=names(list(PARAMETRISATIONS)).replace(", ", "|"),
        words=lambda: list(PARAMETRISATIONS),
        shown="eps",
        panel=NETWORK,
    )
    classes: bool | None = option(
        None,
        "Tell the network the class of each image, from the data's labels.",
        "--classes/--no-classes",
        panel=NETWORK,
    )
    label_dropout: float | None = option(
        None,
        "Share of images whose class is not told, which guidance needs (0.1 is usual).",
        metavar="P",
        shown="0",
        panel=NETWORK,
    )
    channels: int | None = option(None, "Base width.", metavar="N", panel=NETWORK)
    multipliers: tuple[int, ...] | None = option(
        None,
        "Width factor of each level.",
        metavar="N,N,..",
        many=True,
        parse=whole_numbers("--multipliers", "1,2,2"),
        panel=NETWORK,
    )
    blocks: int | None = option(None, "Residual blocks a level.", metavar="N", panel=NETWORK)
    attention: tuple[int, ...] | None = option(
        None,
        "Sides with attention, or none.",
        metavar="N,N,..|none",
        many=True,
        none="none",
        parse=whole_numbers("--attention", "8,16"),
        panel=NETWORK,
    )
    heads: int | None = option(None, "Attention heads.", metavar="N", panel=NETWORK)
    dropout: float | None = option(None, "Dropout.", metavar="X", panel=NETWORK)
    scale_shift: bool | None = option(
        None, "Embedding scales the norms.", "--scale-shift/--no-scale-shift", panel=NETWORK
    )
    schedule: Literal["linear", "cosine", "vp"] | None = option(None, "Noise schedule.", panel=NETWORK)
    timesteps: int | None = option(None, "Trained steps.", metavar="T", panel=NETWORK)


@dataclass(frozen=True)
class MemoryChoice:
    """How to train in less memory; up to rounding (and which units are dropped) the training is the same."""

    accumulate: int = option(
        1,
        "Parts in which each batch is taken, one after the other, to save memory.",
        metavar="N",
        least=1,
        panel=TRAINING,
    )
    checkpoint_activations: bool = option(
        False,
        "Compute activations again on the way back instead of keeping them: less memory, a third more time.",
        "--checkpoint-activations",
        panel=TRAINING,
    )


@dataclass(frozen=True)
class TrainRequest:
    """A training of a mean model."""

    place: RunPlace = RunPlace()
    network: NetworkChoice = NetworkChoice()
    pictures: PictureChoice = PictureChoice()
    resume: ResumeChoice = ResumeChoice()
    dry_run: bool = option(False, "Print settings and cost (a few iterations are timed), and stop.", "--dry-run")
    budget: BudgetChoice = BudgetChoice()
    training: TrainingChoice = TrainingChoice()
    memory: MemoryChoice = MemoryChoice()
    device: str = option("auto", "auto, cpu, cuda, cuda:1, ...", metavar="NAME", panel=RUNNING)
    rhythm: Rhythm = Rhythm()
    preview_minutes: float = option(1.0, "Time between sample grids; 0: none.", metavar="X", least=0, panel=RUNNING)


@dataclass(frozen=True)
class HeadChoice:
    """Which heads, on which images; None leaves it to the default and to the mean's own images."""

    kind: tuple[str, ...] | None = option(
        None,
        f"{names(list(heads()))}; several share each network pass.",
        shown=names(unasked_heads()),
        metavar="NAME,..",
        many=True,
        parse=one_of("--kind", heads),
        words=lambda: list(heads()),
    )
    loss: Literal["likelihood", "squared"] | None = option(
        None, "What heads are fitted by; squared is the published form.", shown=next(iter(LOSSES))
    )
    head: Literal["simple", "complex", "stem"] | None = option(
        None,
        "Heads per pixel: one convolution, a residual block before it, or a convolution before that for networks that "
        "offer no features.",
        shown="complex",
    )
    data: str | None = option(None, DATA, metavar="PATH", parse=expanded_text)
    limit: int | None = option(None, "Use a fixed random choice of N images.", metavar="N", least=1)
    guidance: float | None = option(
        None, "Fit on the mean guided by this W, for samples at the same W.", metavar="W", shown="1"
    )


@dataclass(frozen=True)
class FitRequest:
    """A fit of variance heads on a frozen mean."""

    place: Place = Place()
    heads: HeadChoice = HeadChoice()
    pictures: PictureChoice = PictureChoice()
    resume: ResumeChoice = ResumeChoice()
    budget: BudgetChoice = BudgetChoice()
    patience: int | None = option(
        None,
        "Evaluations of held-out images without a gain in nats after which a head is done; 0 holds none out.",
        metavar="N",
        least=0,
        shown="4",
        panel=TRAINING,
    )
    training: TrainingChoice = TrainingChoice()
    device: str = option("auto", "auto, cpu, cuda, cuda:1, ...", metavar="NAME", panel=RUNNING)
    rhythm: Rhythm = Rhythm()
