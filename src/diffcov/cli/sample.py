"""``diffcov sample``: images from a run, in few steps, with the covariance of choice."""

from __future__ import annotations

import sys
import time
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from diffcov.cli import options as opt
from diffcov.cli.console import finish, note, progress, warn


class Format(Enum):
    """What a set of samples may hold."""

    GRID = "grid"
    FOLDER = "folder"
    NPZ = "npz"


def command(
    run: opt.RunDir = opt.DEFAULT_RUN,
    steps: Annotated[int | None, typer.Option(metavar="K", help="Steps, each one network call. [default: 50]")] = None,
    covariance: opt.Covariance = "auto",
    count: Annotated[int, typer.Option(metavar="N", min=1, help="Number of images.")] = 64,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder to write. [default: in the run's samples/]")
    ] = None,
    formats: Annotated[
        list[Format] | None,
        typer.Option("--format", help="What to write beside the grid; may be repeated.", show_default=False),
    ] = None,
    force: opt.Force = False,
    as_json: opt.Json = False,
    process: Annotated[
        Literal["ddpm", "ddim"], typer.Option(help="Forward process.", rich_help_panel=opt.SAMPLING)
    ] = "ddpm",
    eta: Annotated[
        float | None,
        typer.Option(metavar="X", help="Noise of ddim, 0..1. [default: 0]", rich_help_panel=opt.SAMPLING),
    ] = None,
    trajectory: Annotated[
        str,
        typer.Option(
            metavar="NAME|T,T,..",
            help="even, ddim, quad, optimal (see trajectory) or a list of times.",
            rich_help_panel=opt.SAMPLING,
        ),
    ] = "even",
    last_noise: Annotated[
        str,
        typer.Option(
            metavar="X",
            help="Last noise in grey levels: auto, off or a number.",
            rich_help_panel=opt.SAMPLING,
        ),
    ] = "auto",
    clip_x0: opt.ClipX0 = True,
    eps_scale: opt.EpsScale = "1",
    seed: Annotated[
        int, typer.Option(metavar="N", help="Image i depends on (seed, i) only.", rich_help_panel=opt.RUNNING)
    ] = 0,
    first: Annotated[
        int, typer.Option(metavar="I", min=0, help="Number of the first image.", rich_help_panel=opt.RUNNING)
    ] = 0,
    batch_size: opt.Batch = 64,
    device: opt.Device = "auto",
    precision: opt.Precision = None,
) -> None:
    """Draw samples: a sheet to look at, the images, and a manifest that says how to repeat them."""
    result = sample(
        run, steps, covariance, count, out, [chosen.value for chosen in formats or []],
        force=force, process_name=process, eta=eta, trajectory_name=trajectory, last_noise=last_noise,
        clip_x0=clip_x0, eps_scale=eps_scale, seed=seed, first=first, batch_size=batch_size, device=device,
        precision=precision,
    )  # fmt: skip
    finish(result, as_json, result["grid"])


def sample(
    folder: Path,
    steps: int | None,
    covariance_name: str,
    count: int,
    out: Path | None,
    formats: list[str],
    *,
    force: bool,
    process_name: Literal["ddpm", "ddim"],
    eta: float | None,
    trajectory_name: str,
    last_noise: str,
    clip_x0: bool,
    eps_scale: str,
    seed: int,
    first: int,
    batch_size: int,
    device: str,
    precision: Literal["fp32", "bf16"] | None,
) -> dict[str, Any]:
    """Draw samples of a run; returns what ``--json`` prints: the manifest and the paths."""
    import torch

    import diffcov
    from diffcov.cli.eps_scale_choice import EpsScale, canonical_eps_scale, scale_suffix
    from diffcov.cli.opening import open_mean, warn_unclipped
    from diffcov.cli.trajectory_choice import NAMED, OPTIMAL, check_made_for, open_optimal, pick_trajectory
    from diffcov.diffusion.process import PROCESSES
    from diffcov.engines.sampling import Sampler, generate
    from diffcov.store.run import Run
    from diffcov.store.sample_set import refuse_existing_set, write_sample_set
    from diffcov.study.choice import AUTO, Use, choose
    from diffcov.study.fitted import load_covariance

    run = Run(folder)
    eps_scale = canonical_eps_scale(eps_scale)
    process = PROCESSES[process_name](eta)
    mean = open_mean(run, device, precision)
    if steps is None and trajectory_name in NAMED:
        steps = min(50, mean.spec.schedule.T)
    K = steps if steps is not None else trajectory_name.count(",") + 1
    use = None if trajectory_name == OPTIMAL else Use(process, K, trajectory_name, eps_scale, clip_x0)
    choice = choose(run, covariance_name, use)
    name = choice.name
    optimal = open_optimal(trajectory_name, run, name, mean.digest)
    trajectory = pick_trajectory(trajectory_name, mean.spec.schedule.T, steps, optimal)
    loaded = load_covariance(run, name, mean.digest, mean.model.device, trajectory.times)
    check_made_for(optimal, name, loaded.digests, clip_x0)
    warn_unclipped([loaded.covariance], clip_x0)
    cap = _cap_levels(last_noise, mean.spec.schedule, process)
    sampler = Sampler(loaded.covariance, process, trajectory, cap, clip_x0)
    label = f"{sampler.label}-seed{seed}"
    label += f"-from{first}" if first else ""
    label += "" if last_noise == "auto" else f"-last{last_noise}"
    label += "" if clip_x0 else "-noclip"
    label += scale_suffix(eps_scale)
    target = (out or run.samples / label).absolute()
    refuse_existing_set(target, force)
    if covariance_name == AUTO:
        note(f"covariance: {name} ({choice.why}; choose another with --covariance)")
    if name == "small" and covariance_name == AUTO and not choice.measured:
        advice = opt.with_run("make them with diffcov estimate-var and diffcov fit-var-head", run.path)
        warn(f"the run holds no variance table and no head; {advice}")

    inside = precision or mean.spec.precision
    sampler = EpsScale(eps_scale, run, mean, inside, batch_size).applied(sampler, loaded)
    manifest: dict[str, Any] = {
        "diffcov_version": diffcov.__version__,
        "torch_version": torch.__version__,
        "command": ["diffcov", *sys.argv[1:]],
        "mean": {"path": str(run.mean), "digest": mean.digest},
        "fitted": loaded.digests,
        "covariance": name,
        "process": process.name,
        "eta": process.eta,
        "trajectory": trajectory.name,
        "steps": trajectory.K,
        "times": list(trajectory.times),
        "clip_x0": clip_x0,
        "last_noise_levels": cap,
        "eps_scale": eps_scale,
        "eps_scale_value": sampler.eps_scale,
        "seed": seed,
        "first": first,
        "batch_size": batch_size,
        "network_calls": trajectory.K * -(-count // batch_size),
        "device": str(mean.model.device),
        "precision": inside,
        "schedule": mean.spec.schedule.spec,
        "data": mean.spec.data.as_dict(),
    }
    started = time.monotonic()
    with progress("sample", count, "images") as bar:
        batches = generate(
            mean.model, sampler, count, seed=seed, batch_size=batch_size, first=first, on_batch=bar.update
        )
        write_sample_set(target, batches, mean.spec.data.levels, formats, first, manifest)
    seconds = time.monotonic() - started
    note(f"{count} images in {trajectory.K} steps by {name}, {process.name}: {seconds:.1f} s")
    shown = out or run.samples / label
    paths = {"out": str(shown), "grid": str(shown / "grid.png")}
    return {**manifest, "count": count, "seconds": seconds, **paths}


def _cap_levels(text: str, schedule: Any, process: Any) -> float | None:
    from diffcov.covariance.clipping import default_cap_levels
    from diffcov.errors import UsageError

    if text == "auto":
        return default_cap_levels(schedule, process)
    if text == "off":
        return None
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"--last-noise must be auto, off or a number of grey levels, found {text!r}") from None
