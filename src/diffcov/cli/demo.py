"""``diffcov demo``: everything on the embedded digits, ending in one report of all covariances."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from diffcov.cli import options as opt
from diffcov.cli.console import finish, note

STEPS = (5, 10, 50)


def command(
    run: opt.RunDir = Path("runs/demo"),
    iterations: opt.Iterations = None,
    head_iterations: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Of the heads.", rich_help_panel=opt.TRAINING)
    ] = None,
    samples: Annotated[int, typer.Option(metavar="M", min=1, help="Images a time in the variance table.")] = 25,
    knot_samples: Annotated[int, typer.Option(metavar="M", min=1, help="Images a knot in the spectrum.")] = 1000,
    count: Annotated[int, typer.Option(metavar="N", min=1, help="Samples a cell of the tables.")] = 200,
    force: opt.Force = False,
    as_json: opt.Json = False,
    device: opt.Device = "auto",
) -> None:
    """Run everything on the embedded digits: train, measure, fit, and compare all covariances in one report."""
    result = demo(run, iterations, head_iterations, samples, knot_samples, count, force=force, device=device)
    finish(result, as_json, result["report"])


def demo(
    folder: Path,
    iterations: int | None,
    head_iterations: int | None,
    samples: int,
    knot_samples: int,
    count: int,
    *,
    force: bool,
    device: str,
) -> dict[str, Any]:
    """Train, measure, fit and compare; returns what ``--json`` prints."""
    from diffcov.cli.compare import compare
    from diffcov.cli.estimate_var import estimate_var
    from diffcov.cli.fit_var_head import fit_var_head
    from diffcov.cli.train_mean import train_mean
    from diffcov.cli.training_run import Resume
    from diffcov.covariance.registry import heads
    from diffcov.engines.distances.frechet import require_enough
    from diffcov.engines.training.loop import Intervals
    from diffcov.nets.classifier import FEATURES

    require_enough(count, FEATURES, "samples")  # before minutes of training, not after
    intervals = Intervals(log_every=20, save_seconds=120.0)
    training: dict[str, Any] = {"minutes": None, "resume": Resume(force=force), "device": device}
    note("1/4 train-mean")
    train_mean(folder, {"data": "digits"}, iterations=iterations, dry_run=False, intervals=intervals, **training)
    note("2/4 estimate-var")
    estimate_var(
        folder, None, None, samples, None, None, None, knot_samples, None,
        add=False, force=force, batch_size=256, seed=None, device=device, precision=None,
    )  # fmt: skip
    note("3/4 fit-var-head")
    fit_var_head(folder, {"kind": list(heads())}, iterations=head_iterations, intervals=intervals, **training)
    note("4/4 compare, every covariance with the same seeds")
    return compare(
        folder, "all", ",".join(map(str, STEPS)), "ddpm,ddim", "even", count, 256, None, None, "auto", None, None,
        force=force, clip_x0=True, eps_scale="1", batch_size=256, seed=0, device=device, precision=None,
    )  # fmt: skip
