"""``diffcov demo``: the four commands on the embedded digits, then every covariance side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diffcov.cli import options as opt
from diffcov.cli.console import finish, note, progress, show

if TYPE_CHECKING:
    from torch import Tensor

STEPS = (5, 10, 50)
SHOWN = 10
"""Samples a row of the picture."""


def command(
    run: opt.RunDir = Path("runs/demo"),
    iterations: opt.Iterations = None,
    head_iterations: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Of the heads.", rich_help_panel=opt.TRAINING)
    ] = None,
    samples: Annotated[int, typer.Option(metavar="M", min=1, help="Images a time in the variance table.")] = 25,
    count: Annotated[int, typer.Option(metavar="N", min=SHOWN, help="Images a cell of the table.")] = 200,
    force: opt.Force = False,
    as_json: opt.Json = False,
    device: opt.Device = "auto",
) -> None:
    """Run everything on the embedded digits: train, measure, fit, and compare all covariances in one picture."""
    result = demo(run, iterations, head_iterations, samples, count, force=force, device=device)
    finish(result, as_json, result["picture"])


def demo(
    folder: Path,
    iterations: int | None,
    head_iterations: int | None,
    samples: int,
    count: int,
    *,
    force: bool,
    device: str,
) -> dict[str, Any]:
    """Train, measure, fit and compare; returns what ``--json`` prints."""
    import torch

    from diffcov.cli.estimate_var import estimate_var
    from diffcov.cli.fit_var_head import fit_var_head
    from diffcov.cli.opening import open_mean, open_training_images
    from diffcov.cli.train_mean import train_mean
    from diffcov.cli.training_run import Resume
    from diffcov.evaluation.frechet import Gaussian, frechet_distance
    from diffcov.io.atomic import atomic_write
    from diffcov.io.comparison_picture import save_comparison
    from diffcov.io.run import Run
    from diffcov.noise import generator
    from diffcov.training.loop import Intervals

    run, intervals = Run(folder), Intervals(log_every=20, save_seconds=120.0)
    training: dict[str, Any] = {"minutes": None, "resume": Resume(force=force), "device": device}
    note("1/4 train-mean")
    train_mean(folder, {"data": "digits"}, iterations=iterations, dry_run=False, intervals=intervals, **training)
    note("2/4 estimate-var")
    estimate_var(
        folder, None, None, samples, None, None,
        add=False, force=force, batch_size=256, seed=None, device=device, precision=None,
    )  # fmt: skip
    note("3/4 fit-var-head")
    fit_var_head(folder, {}, iterations=head_iterations, intervals=intervals, **training)
    note("4/4 sample, every covariance with the same seeds")
    mean = open_mean(run, device, None)
    drawn = _draw(run, mean, count)
    images, _ = open_training_images(mean, None, None)
    pixels = images.cpu().flatten(1)
    data = Gaussian.of(pixels)
    chosen = torch.randperm(len(pixels), generator=generator(0, "demo"))[:count]
    real = frechet_distance(Gaussian.of(pixels[chosen]), data)
    distances = {
        name: [frechet_distance(Gaussian.of(panel.flatten(1)), data) for panel in panels]
        for name, panels in drawn.items()
    }
    picture = run.path / "demo.png"
    titles = [f"{K} steps" for K in STEPS]
    rows = {name: [panel[:SHOWN] for panel in panels] for name, panels in drawn.items()}
    with atomic_write(picture) as temporary:
        save_comparison(temporary, rows, titles, mean.spec.data.levels)
    show(_table(distances, count, real))
    note(f"picture: {picture}")
    return {"picture": str(picture), "steps": list(STEPS), "count": count, "frechet_pixels": distances, "real": real}


def _draw(run: Any, mean: Any, count: int) -> dict[str, Sequence[Tensor]]:
    """Covariance -> samples at each of STEPS, DDPM, even trajectory, same seeds."""
    import torch

    from diffcov.covariance.clipping import default_cap_levels
    from diffcov.covariance.registry import COVARIANCES
    from diffcov.io.fitted import load_covariance
    from diffcov.process import DDPM
    from diffcov.sampling import Sampler, generate
    from diffcov.trajectory import even

    process, schedule = DDPM(), mean.spec.schedule
    cap = default_cap_levels(schedule, process)
    trajectories = [even(schedule.T, K) for K in STEPS]
    times = {t for trajectory in trajectories for t in trajectory.times}
    drawn: dict[str, Sequence[Tensor]] = {}
    with progress("sample", len(COVARIANCES) * len(STEPS), "cells") as bar:
        for name in COVARIANCES:
            covariance = load_covariance(run, name, mean.digest, mean.model.device, times).covariance
            panels = []
            for trajectory in trajectories:
                sampler = Sampler(covariance, process, trajectory, cap)
                panels.append(torch.cat(list(generate(mean.model, sampler, count, batch_size=256))))
                bar.update(len(drawn) * len(STEPS) + len(panels))
            drawn[name] = panels
    return drawn


def _table(distances: Mapping[str, Sequence[float]], count: int, real: float) -> Any:
    from rich.table import Table

    title = f"frechet@{count} pixels, DDPM; lower is better"
    table = Table(title=title, caption=f"{count} real digits have {real:.1f}")
    table.add_column("covariance")
    for K in STEPS:
        table.add_column(f"{K} steps", justify="right")
    best = [min(column) for column in zip(*distances.values(), strict=True)]
    for name, row in distances.items():
        cells = [f"[bold green]{x:.1f}[/]" if x == low else f"{x:.1f}" for x, low in zip(row, best, strict=True)]
        table.add_row(name, *cells)
    return table
