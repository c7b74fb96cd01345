"""``diffcov compare``: every covariance, process and number of steps side by side, with one report."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from diffcov.cli import options as opt
from diffcov.cli.console import finish

CALIBRATION_TIMES = 20
SHOWN = 10
"""Samples a cell of the sheets."""


def command(
    run: opt.RunDir = opt.DEFAULT_RUN,
    covariance: opt.Covariances = "all",
    steps: Annotated[str, typer.Option(metavar="K,..", help="Numbers of steps.")] = "5,10,25,50",
    processes: Annotated[
        str, typer.Option("--process", metavar="NAME,..", help="ddpm, ddim, or both.", rich_help_panel=opt.SAMPLING)
    ] = "ddpm,ddim",
    trajectory: Annotated[
        str, typer.Option(metavar="NAME", help="even, ddim or quad.", rich_help_panel=opt.SAMPLING)
    ] = "even",
    count: Annotated[int, typer.Option(metavar="N", min=0, help="Samples a cell; 0: no samples.")] = 1000,
    images: Annotated[int, typer.Option(metavar="N", min=1, help="Images for likelihood and calibration.")] = 256,
    split: opt.Split = None,
    data: opt.Data = None,
    features: opt.Features = "auto",
    reference: opt.Reference = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder. [default: the run's compare/]")] = None,
    force: opt.Force = False,
    as_json: opt.Json = False,
    clip_x0: opt.ClipX0 = True,
    eps_scale: opt.EpsScale = "1",
    batch_size: opt.Batch = 256,
    seed: opt.Number = 0,
    device: opt.Device = "auto",
    precision: opt.Precision = None,
) -> None:
    """Compare covariances x processes x steps: likelihood, distances, calibration, pictures and one report.

    Every part is kept as soon as it is measured: typed again, the command goes on where it stopped.
    """
    result = compare(
        run, covariance, steps, processes, trajectory, count, images, split, data, features, reference, out,
        force=force, clip_x0=clip_x0, eps_scale=eps_scale, batch_size=batch_size, seed=seed, device=device,
        precision=precision,
    )  # fmt: skip
    finish(result, as_json, result["report"])


def compare(
    folder: Path,
    covariance: str,
    steps: str,
    processes: str,
    trajectory_name: str,
    count: int,
    image_count: int,
    split: str | None,
    data: str | None,
    features: str,
    stats: Path | None,
    out: Path | None,
    *,
    force: bool,
    clip_x0: bool,
    eps_scale: str,
    batch_size: int,
    seed: int,
    device: str,
    precision: str | None,
) -> dict[str, Any]:
    """Measure what is missing, write the tables and the report; returns compare.json with the paths."""
    import diffcov
    from diffcov.cli.comparison_cells import check_cells, measure_cells
    from diffcov.cli.comparison_output import write_comparison
    from diffcov.cli.comparison_parts import Bench, Samples
    from diffcov.cli.eps_scale_choice import EpsScale, canonical_eps_scale
    from diffcov.cli.feature_space import open_features, open_reference
    from diffcov.cli.opening import (
        open_covariances,
        open_held_out,
        open_mean,
        open_training_images,
        warn_unclipped,
    )
    from diffcov.diffusion.grid import even
    from diffcov.diffusion.process import PROCESSES
    from diffcov.engines.distances.frechet import require_enough
    from diffcov.nets.head import parameter_count
    from diffcov.store.artifact import digest as digest_of
    from diffcov.store.comparison import ComparisonFolder
    from diffcov.store.run import Run

    started = time.monotonic()
    run = Run(folder)
    eps_scale = canonical_eps_scale(eps_scale)
    kept = ComparisonFolder(out or run.comparison, force)
    kept.check_ours()
    chosen = [PROCESSES[name](None) for name in _words(processes, PROCESSES, "--process")]
    mean = open_mean(run, device, precision)
    schedule = mean.spec.schedule
    trajectories = _trajectories(trajectory_name, schedule.T, steps)
    calibrated = even(schedule.T, min(CALIBRATION_TIMES, schedule.T))
    times = {t for one in (*trajectories, calibrated) for t in one.times}
    loaded = open_covariances(run, covariance, mean, sorted(times))
    check_cells([one.covariance for one in loaded.values()], chosen)
    warn_unclipped([one.covariance for one in loaded.values()], clip_x0)
    pixels, provenance = open_held_out(mean, data, image_count, split)
    samples = None
    if count:
        space = open_features(features, run, mean, mean.model.device)
        require_enough(count, space.dims, "samples")
        training, came_from = open_training_images(mean, None, None)
        reference = open_reference(space, run, training, came_from, stats)
        split_of, source = (None, str(stats)) if stats else ("train", str(came_from["source"]))
        record = {
            "count": reference.count, "split": split_of, "source": source,
            "digest": digest_of({"mu": reference.gaussian.mean, "sigma": reference.gaussian.covariance}),
        }  # fmt: skip
        samples = Samples(count, SHOWN, space, reference, record)
    inside = precision or mean.spec.precision
    scale = EpsScale(eps_scale, run, mean, inside, batch_size)
    bench = Bench(
        kept, mean, loaded, pixels, provenance, seed, batch_size, clip_x0, inside, scale, samples
    )  # fmt: skip
    cells, sheets, exposure = measure_cells(bench, chosen, trajectories)
    result = {
        "kind": "compare",
        "diffcov_version": diffcov.__version__,
        "run": str(run.path),
        "command": ["diffcov", *sys.argv[1:]],
        "device": str(mean.model.device),
        "seconds": time.monotonic() - started,
        "mean": {
            "digest": mean.digest,
            "parameters": parameter_count(mean.model),
            "iterations": mean.training.get("iterations"),
        },
        "data": {"source": mean.training["data"]["source"], **mean.spec.data.as_dict()},
        "schedule": schedule.spec,
        "settings": {
            "seed": seed, "count": count, "images": len(pixels), "split": provenance["split"],
            "trajectory": trajectory_name, "clip_x0": clip_x0, "eps_scale": eps_scale,
            "features": samples.space.name if samples else None,
            "features_digest": samples.space.digest if samples else None,
            "dims": samples.space.dims if samples else None,
            "reference": samples.reference_record if samples else None,
        },
        "covariances": {
            name: {
                **{key: getattr(one.covariance, key) for key in ("summary", "formula", "reference")},
                "fitted": one.digests,
            }
            for name, one in loaded.items()
        },
        "processes": [process.name for process in chosen],
        "steps": [one.K for one in trajectories],
        "cells": cells,
        "real": bench.real(samples) if samples else None,
        "calibration": bench.calibration(calibrated.times),
        "exposure": exposure,
    }  # fmt: skip
    return {**result, **write_comparison(bench, result, sheets)}


def _words(text: str, known: Mapping[str, Any], option: str) -> list[str]:
    from diffcov.errors import UsageError

    words = list(dict.fromkeys(part.strip() for part in text.split(",")))
    for word in words:
        if word not in known:
            raise UsageError(f"{option} takes {', '.join(known)} with commas between; found {word!r}")
    return words


def _trajectories(name: str, T: int, steps: str) -> list[Any]:
    """One trajectory for each number in ``--steps``, fewest steps first."""
    from diffcov.diffusion.grid import TRAJECTORIES
    from diffcov.errors import UsageError

    if name not in TRAJECTORIES:
        raise UsageError(f"--trajectory takes {', '.join(TRAJECTORIES)} here; found {name!r}")
    try:
        counts = sorted({int(part) for part in steps.split(",")})
    except ValueError:
        raise UsageError(f"--steps takes whole numbers with commas between, such as 5,10,25; found {steps!r}") from None
    return [TRAJECTORIES[name](T, K) for K in counts]
