"""Options that several commands share, each declared once."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from diffcov.covariance.registry import COVARIANCES

__all__ = [
    "Batch",
    "BatchSize",
    "ClipNorm",
    "ClipX0",
    "Covariance",
    "Covariances",
    "Data",
    "Device",
    "EmaDecay",
    "EpsScale",
    "Features",
    "Flip",
    "Force",
    "Iterations",
    "Json",
    "LearningRate",
    "Limit",
    "LogEvery",
    "Minutes",
    "Number",
    "Override",
    "Precision",
    "Reference",
    "Resume",
    "RunDir",
    "SaveMinutes",
    "Seed",
    "Split",
    "Warmup",
    "WeightDecay",
]

TRAINING = "Training"
RUNNING = "Running"
SAMPLING = "Sampling"

DEFAULT_RUN = Path("runs/default")
RUN_KEY = "diffcov.run"


def _remember(ctx: typer.Context, value: Path) -> Path:
    ctx.find_root().meta[RUN_KEY] = value
    return value


def with_run(text: str, run: Path | None) -> str:
    """The text, with ``--run`` added to each command of ours that it suggests, so that they find this run."""
    if run is None or run == DEFAULT_RUN:
        return text
    command = r"diffcov (train-mean|estimate-var|fit-var-head|sample|evaluate|trajectory|compare)\b"
    return re.sub(command, lambda found: f"{found[0]} --run {shlex.quote(str(run))}", text)


RunDir = Annotated[
    Path,
    typer.Option(
        "--run",
        metavar="DIR",
        envvar="DIFFCOV_RUN",
        callback=_remember,
        help="Run directory that the commands share.",
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="Images: 'digits', a folder or zip of images, .npy/.npz, idx(.gz), a CIFAR archive.",
    ),
]
Limit = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Use a fixed random choice of N images.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what is already there.")]
Device = Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:1, ...", rich_help_panel=RUNNING)]
Precision = Annotated[
    Literal["fp32", "bf16"] | None,
    typer.Option(help="Inside of the network; everything else is float32 or better.", rich_help_panel=RUNNING),
]
Number = Annotated[int, typer.Option("--seed", metavar="N", help="Of everything random.", rich_help_panel=RUNNING)]
Batch = Annotated[
    int, typer.Option("--batch-size", metavar="N", min=1, help="Images a network call.", rich_help_panel=RUNNING)
]
ClipX0 = Annotated[
    bool, typer.Option("--clip-x0/--no-clip-x0", help="Keep x0_hat in the data's range.", rich_help_panel=SAMPLING)
]
Covariance = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help=f"auto (what compare found best, else by an order), {', '.join(COVARIANCES)}.",
        autocompletion=lambda: ["auto", *COVARIANCES],
    ),
]
Covariances = Annotated[
    str,
    typer.Option(
        "--covariance",
        metavar="NAME,..",
        help=f"auto, all, or some of {', '.join(COVARIANCES)}.",
        autocompletion=lambda: ["auto", "all", *COVARIANCES],
    ),
]
EpsScale = Annotated[
    str,
    typer.Option(
        metavar="X|fitted",
        help="Divide eps_hat in the mean: a number, or fitted, so that samples have the contrast of the data.",
        autocompletion=lambda: ["1", "fitted"],
        rich_help_panel=SAMPLING,
    ),
]
Split = Annotated[
    Literal["train", "test"] | None,
    typer.Option(help="Images to evaluate on. [default: test if there is one]", show_default=False),
]
Features = Annotated[
    str,
    typer.Option(
        metavar="NAME|FILE",
        help="Where distances are taken: auto, pixels, classifier, inception, or a TorchScript file.",
        autocompletion=lambda: ["auto", "pixels", "classifier", "inception"],
    ),
]
Reference = Annotated[
    Path | None, typer.Option(metavar="NPZ", help="mu and sigma to compare with, instead of the training images.")
]
Seed = Annotated[int | None, typer.Option(metavar="N", help="Seed of everything random.", rich_help_panel=RUNNING)]

Iterations = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Stop after this many.", rich_help_panel=TRAINING)
]
Minutes = Annotated[float | None, typer.Option(metavar="X", help="Stop after this long.", rich_help_panel=TRAINING)]
BatchSize = Annotated[int | None, typer.Option(metavar="N", help="Images an iteration.", rich_help_panel=TRAINING)]
LearningRate = Annotated[
    float | None, typer.Option("--lr", metavar="X", help="AdamW's learning rate.", rich_help_panel=TRAINING)
]
Warmup = Annotated[
    int | None, typer.Option(metavar="N", help="Iterations in which the rate rises.", rich_help_panel=TRAINING)
]
WeightDecay = Annotated[float | None, typer.Option(metavar="X", help="AdamW's decay.", rich_help_panel=TRAINING)]
ClipNorm = Annotated[
    float | None, typer.Option(metavar="X", help="Largest gradient norm; 0: no clip.", rich_help_panel=TRAINING)
]
EmaDecay = Annotated[
    float | None, typer.Option(metavar="X", help="Decay of the weight average.", rich_help_panel=TRAINING)
]
Flip = Annotated[
    bool | None,
    typer.Option("--flip/--no-flip", help="Mirror half of the images.", rich_help_panel=TRAINING, show_default=False),
]
LogEvery = Annotated[
    int, typer.Option(metavar="N", min=1, help="Iterations between log lines.", rich_help_panel=RUNNING)
]
SaveMinutes = Annotated[
    float, typer.Option(metavar="X", min=0, help="Time between saves of the state.", rich_help_panel=RUNNING)
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where an earlier call stopped.")]
Override = Annotated[
    list[str] | None,
    typer.Option(metavar="OPTION", help="With --resume: accept that this option differs.", show_default=False),
]
