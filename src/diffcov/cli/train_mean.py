"""``diffcov train-mean``: images in, mean model out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from diffcov.cli import options as opt
from diffcov.cli.console import finish, next_step, note, warn

if TYPE_CHECKING:
    from diffcov.cli.training_run import Resume
    from diffcov.engines.training.loop import Intervals

NETWORK = "Network"

SMALL_BATCH = 16
"""Below this a learning rate meant for large batches may diverge."""


def _numbers(option: str, text: str | None) -> list[int] | None:
    """ "1,2,2" -> [1, 2, 2]; "none" -> []."""
    if text is None or text == "none":
        return None if text is None else []
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a list of whole numbers such as 1,2,2", param_hint=option) from None


def command(
    run: opt.RunDir = opt.DEFAULT_RUN,
    data: opt.Data = None,
    limit: opt.Limit = None,
    preset: Annotated[
        Literal["digits", "mnist", "cifar10"] | None,
        typer.Option(help="Network and training settings; chosen from the image size when not given."),
    ] = None,
    resume: opt.Resume = False,
    override: opt.Override = None,
    force: opt.Force = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved settings and stop.")] = False,
    as_json: opt.Json = False,
    channels: Annotated[int | None, typer.Option(metavar="N", help="Base width.", rich_help_panel=NETWORK)] = None,
    multipliers: Annotated[
        str | None, typer.Option(metavar="N,N,..", help="Width factor a level.", rich_help_panel=NETWORK)
    ] = None,
    blocks: Annotated[
        int | None, typer.Option(metavar="N", help="Residual blocks a level.", rich_help_panel=NETWORK)
    ] = None,
    attention: Annotated[
        str | None,
        typer.Option(metavar="N,N,..", help="Sides with attention, or none.", rich_help_panel=NETWORK),
    ] = None,
    heads: Annotated[int | None, typer.Option(metavar="N", help="Attention heads.", rich_help_panel=NETWORK)] = None,
    dropout: Annotated[float | None, typer.Option(metavar="X", help="Dropout.", rich_help_panel=NETWORK)] = None,
    scale_shift: Annotated[
        bool | None,
        typer.Option(
            "--scale-shift/--no-scale-shift",
            help="Embedding scales the norms.",
            rich_help_panel=NETWORK,
            show_default=False,
        ),
    ] = None,
    schedule: Annotated[
        Literal["linear", "cosine", "vp"] | None, typer.Option(help="Noise schedule.", rich_help_panel=NETWORK)
    ] = None,
    timesteps: Annotated[int | None, typer.Option(metavar="T", help="Trained steps.", rich_help_panel=NETWORK)] = None,
    iterations: opt.Iterations = None,
    minutes: opt.Minutes = None,
    batch_size: opt.BatchSize = None,
    lr: opt.LearningRate = None,
    warmup: opt.Warmup = None,
    weight_decay: opt.WeightDecay = None,
    clip_norm: opt.ClipNorm = None,
    ema_decay: opt.EmaDecay = None,
    flip: opt.Flip = None,
    precision: opt.Precision = None,
    seed: opt.Seed = None,
    device: opt.Device = "auto",
    log_every: opt.LogEvery = 20,
    save_minutes: opt.SaveMinutes = 2.0,
    preview_minutes: Annotated[
        float,
        typer.Option(metavar="X", min=0, help="Time between sample grids; 0: none.", rich_help_panel=opt.RUNNING),
    ] = 1.0,
) -> None:
    """Train the mean model: a U-Net that predicts the noise.

    Settings come from the preset that fits the images; every one can be given instead. Ctrl-C saves, and
    --resume goes on from there.
    """
    given = {
        "data": data, "limit": limit, "preset": preset, "schedule": schedule, "timesteps": timesteps,
        "channels": channels, "multipliers": _numbers("--multipliers", multipliers), "blocks": blocks,
        "attention": _numbers("--attention", attention),
        "heads": heads, "dropout": dropout, "scale_shift": scale_shift,
        "batch_size": batch_size, "lr": lr, "warmup": warmup, "weight_decay": weight_decay, "clip_norm": clip_norm,
        "ema_decay": ema_decay, "flip": flip, "precision": precision, "seed": seed,
    }  # fmt: skip
    from diffcov.cli.training_run import Resume
    from diffcov.engines.training.loop import Intervals

    result = train_mean(
        run,
        {name: value for name, value in given.items() if value is not None},
        iterations=iterations,
        minutes=minutes,
        resume=Resume(resume, tuple(override or ()), force),
        dry_run=dry_run,
        device=device,
        intervals=Intervals(log_every, 60 * save_minutes, 60 * preview_minutes or float("inf")),
    )
    finish(result, as_json or dry_run, result.get("mean", ""))
    if not dry_run:
        next_step(opt.with_run("diffcov estimate-var", run))


def train_mean(
    folder: Path,
    given: Mapping[str, Any],
    *,
    iterations: int | None,
    minutes: float | None,
    resume: Resume,
    dry_run: bool,
    device: str,
    intervals: Intervals,
) -> dict[str, Any]:
    """Train (or go on training) the mean model of a run; returns what ``--json`` prints."""
    import torch

    from diffcov.cli.device import pick_device
    from diffcov.cli.preview import Previews
    from diffcov.cli.training_run import TrainingRun
    from diffcov.engines.training.batches import NoisyBatches
    from diffcov.engines.training.config import Budget
    from diffcov.engines.training.mean import MeanObjective
    from diffcov.engines.training.presets import PRESETS
    from diffcov.engines.training.session import Session
    from diffcov.nets.head import parameter_count
    from diffcov.noise import key
    from diffcov.store.checkpoint import save_mean
    from diffcov.store.datasets import canonical_source, load_images
    from diffcov.store.run import Run
    from diffcov.study.settings import SHAPE_FIELDS, mean_settings, mean_spec, training_config

    run, asked = Run(folder), Budget.asked(iterations, minutes)
    if "data" in given:
        given = {**given, "data": canonical_source(given["data"])}
    task = TrainingRun("train-mean", run.state("mean"), run.log)
    resumed = task.resume(given, resume, SHAPE_FIELDS, asked) if resume.wanted else None
    if resumed is None:
        task.refuse_existing(resume.force or dry_run, [run.mean])
        images = load_images(given.get("data", "digits"), given.get("limit"))
        settings = mean_settings({**given, "data": images.source}, images.description)
        budget = asked or Budget(PRESETS[settings["preset"]].iterations)
    else:
        settings, budget = resumed.settings, resumed.budget
        images = load_images(settings["data"], settings["limit"])
    provenance = images.provenance(settings["limit"])
    if resumed is not None:
        resumed.require_data(provenance["digest"])
    spec, config = mean_spec(settings, images.description), training_config(settings)
    if dry_run:
        return {"settings": settings, "iterations": budget.iterations, "minutes": budget.minutes}

    target = pick_device(device)
    if spec.schedule.warning:
        warn(spec.schedule.warning)
    if config.batch_size < SMALL_BATCH:
        warn(f"batch size {config.batch_size} is small for learning rate {config.lr:g}; if the loss jumps, lower --lr")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(config.seed, "initial weights"))
        model = spec.build().to(target)
    session = Session(MeanObjective(model), config)
    if resumed is not None:
        session.restore(resumed.tensors)
    millions = parameter_count(model.trunk) / 1e6
    note(f"{images.count} images, {images.description}; U-Net with {millions:.2f} M parameters on {target}")

    def save(current: Session) -> None:
        training = {
            "settings": settings,
            "iterations": current.iteration,
            "data": provenance,
        }
        save_mean(run.mean, current.ema.module, spec, training)

    batches = NoisyBatches(
        images.images.to(target), images.description, spec.schedule, config.batch_size, config.flip, config.seed
    )
    previews = Previews(run.samples / "training", spec, config.seed)
    task.train(session, batches, budget, settings, provenance["digest"], save, previews.draw, intervals)
    return {"mean": str(run.mean), "iterations": session.iteration, "seconds": session.seconds, "settings": settings}
