"""``diffcov estimate-var``: mean model and images in, variance table, spectrum and residual matrices out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from diffcov.cli import options as opt
from diffcov.cli.console import finish, next_step, warn

FEW_SAMPLES = 10
"""Below this the published likelihoods scatter by a bit/dim (arXiv 2201.06503, appendix G.2)."""
KNOTS = 32
FULL_BY_DEFAULT = 256
"""Images of at most so many values get residual matrices without asking."""


def command(
    run: opt.RunDir = opt.DEFAULT_RUN,
    data: opt.Data = None,
    limit: opt.Limit = None,
    samples: Annotated[int, typer.Option(metavar="M", min=1, help="Images measured at each time, for the table.")] = 25,
    steps: Annotated[
        int | None, typer.Option(metavar="K", min=1, help="Measure only the K times of a trajectory. [default: all]")
    ] = None,
    trajectory: Annotated[
        str | None,
        typer.Option(metavar="NAME|T,T,..", help="even, ddim, quad with --steps, or a list of times. [default: even]"),
    ] = None,
    knots: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=2,
            help="Times at which the spectrum is measured, even in log-SNR. [default: 32]",
            show_default=False,
        ),
    ] = None,
    knot_samples: Annotated[
        int, typer.Option(metavar="M", min=0, help="Images measured at each knot; 0: no spectrum.")
    ] = 1000,
    full: Annotated[
        bool | None,
        typer.Option(
            "--full/--no-full",
            help="Measure all pairs of values too. [default: images of up to 256 values]",
            show_default=False,
        ),
    ] = None,
    add: Annotated[
        bool, typer.Option("--add", help="Add --samples and --knot-samples more images to what is there.")
    ] = False,
    force: opt.Force = False,
    as_json: opt.Json = False,
    batch_size: Annotated[
        int, typer.Option(metavar="N", min=1, help="Images a network call.", rich_help_panel=opt.RUNNING)
    ] = 256,
    seed: opt.Seed = None,
    device: opt.Device = "auto",
    precision: opt.Precision = None,
) -> None:
    """Measure what the mean leaves uncertain: at every time (the table), and at each frequency (the spectrum).

    The images are those the mean was trained on unless --data says otherwise.
    """
    result = estimate_var(
        run, data, limit, samples, steps, trajectory, knots, knot_samples, full, add=add, force=force,
        batch_size=batch_size, seed=seed, device=device, precision=precision,
    )  # fmt: skip
    finish(result, as_json, "\n".join(result[part] for part in ("table", "spectrum", "matrices") if part in result))
    next_step(opt.with_run("diffcov fit-var-head", run))


def estimate_var(
    folder: Path,
    data: str | None,
    limit: int | None,
    samples: int,
    steps: int | None,
    trajectory: str | None,
    knots: int | None,
    knot_samples: int,
    full: bool | None,
    *,
    add: bool,
    force: bool,
    batch_size: int,
    seed: int | None,
    device: str,
    precision: Literal["fp32", "bf16"] | None,
) -> dict[str, Any]:
    """Measure (or extend) what a run knows of its mean's errors; returns what ``--json`` prints."""
    from diffcov.cli.estimation import Measurement, extend_residuals, extend_table, open_residuals
    from diffcov.cli.opening import open_mean, open_training_images
    from diffcov.cli.trajectory_choice import pick_trajectory
    from diffcov.errors import UsageError
    from diffcov.store.atomic import refuse_existing
    from diffcov.store.run import Run
    from diffcov.store.table import load_table

    if add and force:
        raise UsageError("--add keeps the existing table and --force replaces it; give one of them")
    if add and any(option is not None for option in (seed, steps, trajectory, knots, precision)):
        raise UsageError("--add goes on with the table's own times, knots, seed and precision; leave those options out")
    run = Run(folder)
    run.require_mean()
    if not add:
        for path in (run.table, run.spectrum, run.matrices):
            refuse_existing(path, force, "add images to it with --add, or replace it with --force")
    mean = open_mean(run, device, precision)
    T, shape = mean.spec.schedule.T, mean.spec.data
    if full is None:
        full = knot_samples > 0 and (run.matrices.is_file() if add else shape.dims <= FULL_BY_DEFAULT)
    if full and not knot_samples:
        raise UsageError("--full measures at the knots, and --knot-samples 0 leaves them out; give a number")
    earlier = load_table(run.table, mean.digest) if add else None
    every = steps is None and trajectory is None
    times = list(range(1, T + 1) if every else pick_trajectory(trajectory or "even", T, steps).times)
    already = earlier.config["samples"] if earlier is not None else 0
    if samples + already < FEW_SAMPLES:
        warn(f"{samples + already} images a time is few: the table will be noisy; 10 suffice, 25 are plenty")
    images, provenance = open_training_images(mean, data, limit)
    measurement = Measurement(
        run, mean, images, provenance,
        seed=seed or 0, batch_size=batch_size, precision=precision or mean.spec.precision,
    )  # fmt: skip
    held = open_residuals(measurement, full=full, add=add) if knot_samples else None
    result = extend_table(measurement, earlier, times, samples)
    if held is not None:
        result |= extend_residuals(measurement, held, knots or KNOTS, knot_samples, full=full)
    return result
