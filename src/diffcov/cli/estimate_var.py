"""``diffcov estimate-var``: mean model and images in, variance table out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from diffcov.cli import options as opt
from diffcov.cli.console import finish, next_step, note, progress, show, warn

FEW_SAMPLES = 10
"""Below this the published likelihoods scatter by a bit/dim (arXiv 2201.06503, appendix G.2)."""


def command(
    run: opt.RunDir = opt.DEFAULT_RUN,
    data: opt.Data = None,
    limit: opt.Limit = None,
    samples: Annotated[int, typer.Option(metavar="M", min=1, help="Images measured at each time.")] = 25,
    steps: Annotated[
        int | None, typer.Option(metavar="K", min=1, help="Measure only the K times of a trajectory. [default: all]")
    ] = None,
    trajectory: Annotated[
        str | None,
        typer.Option(metavar="NAME|T,T,..", help="even, ddim, quad with --steps, or a list of times. [default: even]"),
    ] = None,
    add: Annotated[bool, typer.Option("--add", help="Add M more images to the existing table.")] = False,
    force: opt.Force = False,
    as_json: opt.Json = False,
    batch_size: Annotated[
        int, typer.Option(metavar="N", min=1, help="Images a network call.", rich_help_panel=opt.RUNNING)
    ] = 256,
    seed: opt.Seed = None,
    device: opt.Device = "auto",
    precision: opt.Precision = None,
) -> None:
    """Measure the variance table: one sweep of the network gives the best scalar variance at every time.

    The images are those the mean was trained on unless --data says otherwise.
    """
    result = estimate_var(
        run, data, limit, samples, steps, trajectory, add=add, force=force, batch_size=batch_size, seed=seed,
        device=device, precision=precision,
    )  # fmt: skip
    finish(result, as_json, result["table"])
    next_step(opt.with_run("diffcov fit-var-head", run))


def estimate_var(
    folder: Path,
    data: str | None,
    limit: int | None,
    samples: int,
    steps: int | None,
    trajectory: str | None,
    *,
    add: bool,
    force: bool,
    batch_size: int,
    seed: int | None,
    device: str,
    precision: Literal["fp32", "bf16"] | None,
) -> dict[str, Any]:
    """Measure (or extend) the table of a run; returns what ``--json`` prints."""
    from diffcov.cli.curves import variance_curves
    from diffcov.cli.opening import open_mean, open_training_images
    from diffcov.cli.trajectory_choice import pick_trajectory
    from diffcov.errors import InputError, UsageError
    from diffcov.estimation import estimate
    from diffcov.io.atomic import refuse_existing
    from diffcov.io.run import Run
    from diffcov.io.table import load_table, save_table
    from diffcov.mean_model import PRECISIONS

    if add and force:
        raise UsageError("--add keeps the existing table and --force replaces it; give one of them")
    if add and any(option is not None for option in (seed, steps, trajectory, precision)):
        raise UsageError("--add goes on with the table's own times, seed and precision; leave those options out")
    run = Run(folder)
    run.require_mean()
    if not add:
        refuse_existing(run.table, force, "add images to it with --add, or replace it with --force")
    mean = open_mean(run, device, precision)
    T = mean.spec.schedule.T
    earlier = load_table(run.table, mean.digest) if add else None
    if earlier is not None:
        first, times, seed = earlier.config["samples"], earlier.config["times"], earlier.config["seed"]
        mean.model.autocast = PRECISIONS[earlier.config["precision"]]
    else:
        first, seed = 0, seed or 0
        every = steps is None and trajectory is None
        times = list(range(1, T + 1) if every else pick_trajectory(trajectory or "even", T, steps).times)
    if samples + first < FEW_SAMPLES:
        warn(f"{samples + first} images a time is few: the table will be noisy; 10 suffice, 25 are plenty")
    images, provenance = open_training_images(mean, data, limit)
    if earlier is not None and earlier.config["data"]["digest"] != provenance["digest"]:
        raise InputError("--add needs the images that the table was measured on; give the same --data and --limit")
    flip = bool(mean.training["settings"].get("flip", False))
    with progress("estimate-var", len(times) * samples, "images") as bar:
        table = estimate(
            mean.model, images, times, samples,
            seed=seed, first=first, batch_size=batch_size, flip=flip, on_batch=bar.update,
        )  # fmt: skip
    if earlier is not None:
        table = table.merge(earlier.table)
    config = {
        "samples": first + samples,
        "times": times,
        "seed": seed,
        "flip": flip,
        "precision": earlier.config["precision"] if earlier is not None else precision or mean.spec.precision,
        "data": provenance,
    }
    digest = save_table(run.table, table, mean.spec, mean.digest, config)

    Gamma, error_sq, above = table.eps_hat_moments.mean(), table.error_moments.mean(), table.above_one
    if above:
        worst = max(above, key=lambda t: float(Gamma[t]))
        largest = float(Gamma[worst])
        note(
            f"E||eps_hat||^2/d exceeds 1 at {len(above)} of {len(times)} times (largest {largest:.4f} at t={worst}): "
            "the mean is imperfect there, and analytic takes its lower bound"
        )
    relative = table.error_moments.stderr()[times] / error_sq[times]
    error = float(relative.nanmedian()) if first + samples > 1 else None
    shown = "unknown from one image" if error is None else f"{100 * error:.1f} %"
    note(f"{first + samples} images at {len(times)} times; median standard error of a variance {shown}")
    show(variance_curves(table, mean.spec.schedule, mean.spec.data.var_bound))
    return {
        "table": str(run.table),
        "digest": digest,
        "samples": first + samples,
        "times": len(times),
        "above_one": above,
        "median_relative_stderr": error,
        "error_sq": {str(t): float(error_sq[t]) for t in times},
        "Gamma": {str(t): float(Gamma[t]) for t in times},
    }
