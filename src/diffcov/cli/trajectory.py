"""``diffcov trajectory``: the best times to visit, for every number of steps at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from diffcov.cli import options as opt
from diffcov.cli.console import finish, next_step, note, progress, show

SHOWN = (5, 10, 25, 50, 100)


def command(
    run: opt.RunDir = opt.DEFAULT_RUN,
    covariance: opt.Covariance = "auto",
    images: Annotated[int, typer.Option(metavar="N", min=1, help="Images to measure the terms on.")] = 25,
    candidates: Annotated[
        int | None,
        typer.Option(metavar="M", min=1, help="Search among M even times.", show_default="all T"),
    ] = None,
    data: opt.Data = None,
    force: opt.Force = False,
    as_json: opt.Json = False,
    clip_x0: opt.ClipX0 = True,
    batch_size: opt.Batch = 256,
    seed: opt.Number = 0,
    device: opt.Device = "auto",
    precision: opt.Precision = None,
) -> None:
    """Search the times with the best likelihood for every number of steps (then: --trajectory optimal).

    One network call an image and time gives every term between two times; dynamic programming does the rest.
    """
    result = search(
        run, covariance, images, candidates, data,
        force=force, clip_x0=clip_x0, batch_size=batch_size, seed=seed, device=device, precision=precision,
    )  # fmt: skip
    finish(result, as_json, result["trajectories"])


def search(
    folder: Path,
    covariance: str,
    count: int,
    candidates: int | None,
    data: str | None,
    *,
    force: bool,
    clip_x0: bool,
    batch_size: int,
    seed: int,
    device: str,
    precision: str | None,
) -> dict[str, Any]:
    """Measure the terms, search, save; returns what ``--json`` prints."""
    import math
    import time

    from diffcov.cli.opening import open_mean, open_training_images
    from diffcov.diffusion.grid import even
    from diffcov.engines.forward import measure
    from diffcov.engines.meters.decomposition import DecompositionMeter, shortest_paths
    from diffcov.errors import UsageError
    from diffcov.store.atomic import refuse_existing
    from diffcov.store.run import Run
    from diffcov.store.trajectory import save_trajectories
    from diffcov.study.choice import choose
    from diffcov.study.fitted import load_covariance

    run = Run(folder)
    mean = open_mean(run, device, precision)
    model, T = mean.model, mean.spec.schedule.T
    name = choose(run, covariance).name
    path = run.trajectories(name)
    refuse_existing(path, force, "use --force to replace them")
    if candidates is not None and candidates > T:
        raise UsageError(f"--candidates must be at most T={T}, the number of trained steps; found {candidates}")
    times = even(T, T if candidates is None else candidates).times
    loaded = load_covariance(run, name, mean.digest, model.device, times)
    pixels, provenance = open_training_images(mean, data, count)
    meter = DecompositionMeter(mean.spec.schedule, mean.spec.data, loaded.covariance, times, pixels.shape[0])
    with progress("terms", len(times) * pixels.shape[0], "calls") as bar:
        measure(model, pixels, [meter], seed=seed, batch_size=batch_size, clip_x0=clip_x0, on_look=bar.update)
    started = time.monotonic()
    decomposition = meter.result()
    found = shortest_paths(decomposition)
    seconds = time.monotonic() - started
    config = {
        "images": provenance, "seed": seed, "clip_x0": clip_x0, "precision": precision or mean.spec.precision
    }  # fmt: skip
    digest = save_trajectories(
        path, found, decomposition.terms, decomposition.prior, decomposition.candidates, name, mean.digest,
        loaded.digests, config,
    )  # fmt: skip
    unit = mean.spec.data.dims * math.log(2)
    rows = [
        {
            "steps": K,
            "bits_per_dim": float(found.cost[K]) / unit,
            "even": decomposition.cost(even(T, K)) / unit if candidates is None else None,
            "times": list(found.trajectory(K).times),
        }
        for K in SHOWN
        if found.longest >= K
    ]
    show(_table(name, pixels.shape[0], rows))
    note(f"searched every number of steps up to {found.longest} in {seconds:.2f} s: {path}")
    next_step(
        opt.with_run(
            f"diffcov sample --covariance {name} --trajectory optimal --steps {min(10, found.longest)}", run.path
        )
    )
    bits = [float(cost) / unit for cost in found.cost[1:]]
    return {
        "trajectories": str(path), "digest": digest, "covariance": name, "fitted": loaded.digests, "mean": mean.digest,
        "longest": found.longest, "bits_per_dim": bits, "shown": rows, "search_seconds": seconds, **config,
    }  # fmt: skip


def _table(name: str, count: int, rows: list[dict[str, Any]]) -> Any:
    from rich.table import Table

    table = Table(title=f"bits/dim of {name} on {count} images, DDPM; lower is better")
    for title in ("steps", "even", "optimal"):
        table.add_column(title, justify="right")
    table.add_column("optimal times")
    for row in rows:
        times = row["times"]
        shown = ", ".join(map(str, times if len(times) <= 10 else [*times[:7], "..", *times[-2:]]))
        even = "-" if row["even"] is None else f"{row['even']:.3f}"
        table.add_row(str(row["steps"]), even, f"{row['bits_per_dim']:.3f}", shown)
    return table
