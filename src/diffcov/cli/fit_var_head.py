"""``diffcov fit-var-head``: mean model and images in, variance heads out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from diffcov.cli import options as opt
from diffcov.cli.console import finish, next_step, note

if TYPE_CHECKING:
    from diffcov.cli.training_run import Resume
    from diffcov.engines.training.loop import Intervals


def command(
    run: opt.RunDir = opt.DEFAULT_RUN,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="npr, sn, ocm or banded; repeat for several, which share each trunk pass. [default: npr, sn, banded]",
        ),
    ] = None,
    loss: Annotated[
        Literal["likelihood", "squared"] | None,
        typer.Option(help="What heads are fitted by; squared is the published form. [default: likelihood]"),
    ] = None,
    head: Annotated[
        Literal["simple", "complex"] | None,
        typer.Option(help="Heads per pixel: one convolution, or a residual block before it. [default: the preset's]"),
    ] = None,
    data: opt.Data = None,
    limit: opt.Limit = None,
    resume: opt.Resume = False,
    override: opt.Override = None,
    force: opt.Force = False,
    as_json: opt.Json = False,
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
) -> None:
    """Fit variance heads on the frozen mean model: a variance per pixel that depends on the image.

    Ctrl-C saves, and --resume goes on from there. The images are those the mean was trained on.
    """
    from diffcov.cli.training_run import Resume
    from diffcov.engines.training.loop import Intervals

    given = {
        "kind": kind, "loss": loss, "head": head, "data": data, "limit": limit,
        "batch_size": batch_size, "lr": lr, "warmup": warmup, "weight_decay": weight_decay, "clip_norm": clip_norm,
        "ema_decay": ema_decay, "flip": flip, "precision": precision, "seed": seed,
    }  # fmt: skip
    result = fit_var_head(
        run,
        {name: value for name, value in given.items() if value is not None},
        iterations=iterations,
        minutes=minutes,
        resume=Resume(resume, tuple(override or ()), force),
        device=device,
        intervals=Intervals(log_every, 60 * save_minutes),
    )
    finish(result, as_json, "\n".join(result["heads"].values()))
    next_step(opt.with_run("diffcov sample --steps 50", run))


def fit_var_head(
    folder: Path,
    given: Mapping[str, Any],
    *,
    iterations: int | None,
    minutes: float | None,
    resume: Resume,
    device: str,
    intervals: Intervals,
) -> dict[str, Any]:
    """Fit (or go on fitting) heads of a run; returns what ``--json`` prints."""
    import torch

    from diffcov.cli.opening import open_mean, open_starts, open_training_images
    from diffcov.cli.training_run import TrainingRun
    from diffcov.denoiser.network import PRECISIONS
    from diffcov.engines.training.batches import NoisyBatches
    from diffcov.engines.training.config import Budget
    from diffcov.engines.training.heads import HeadObjective, HeadPlan
    from diffcov.engines.training.presets import PRESETS
    from diffcov.engines.training.session import Session
    from diffcov.errors import InputError
    from diffcov.nets.head import parameter_count
    from diffcov.noise import key
    from diffcov.store.binding import check_trunk
    from diffcov.store.head import save_head
    from diffcov.store.run import Run
    from diffcov.study.settings import HEAD_SHAPE_FIELDS, canonical_head_options, head_settings, training_config

    run, asked = Run(folder), Budget.asked(iterations, minutes)
    run.require_mean()
    given = canonical_head_options(given)
    task = TrainingRun("fit-var-head", run.state("heads"), run.log)
    resumed = task.resume(given, resume, HEAD_SHAPE_FIELDS, asked) if resume.wanted else None
    mean = open_mean(run, device, None)
    if resumed is None:
        preset = PRESETS[mean.training["settings"]["preset"]]
        settings = head_settings(given, preset, mean.training["settings"], mean.digest)
        task.refuse_existing(resume.force, [run.head(kind) for kind in settings["kind"]])
        budget = asked or Budget(preset.head_iterations)
    else:
        settings, budget = resumed.settings, resumed.budget
        check_trunk(task.state, "unfinished fit", settings["trunk"], mean.digest, "diffcov fit-var-head --force")
    mean.model.autocast = PRECISIONS[settings["precision"]]
    config = training_config(settings)
    images, provenance = open_training_images(mean, settings["data"], settings["limit"])
    if resumed is not None:
        resumed.require_data(provenance["digest"])

    plans = [HeadPlan.of(kind, settings["loss"], settings["head"]) for kind in settings["kind"]]
    relative_to, fitted = open_starts(run, plans, mean)
    for kind, files in settings.setdefault("relative_to", relative_to).items():
        for file, made_with in files.items():
            if relative_to[kind][file] != made_with:
                raise InputError(
                    f"the unfinished {kind} head in {task.state} was begun over another {file} ({made_with[:12]}, this "
                    f"one is {relative_to[kind][file][:12]}); start over with: diffcov fit-var-head --force"
                )
    specs = {plan.kind: plan.spec(mean.model) for plan in plans}
    heads = {}
    with torch.random.fork_rng(devices=[]):
        for plan in plans:
            torch.manual_seed(key(config.seed, "initial head weights", plan.kind))
            heads[plan.kind] = specs[plan.kind].build(plan.start(mean.model, fitted)).to(mean.model.device)
    losses = {plan.kind: plan.loss for plan in plans}
    session = Session(HeadObjective(mean.model, heads, losses, fitted), config)
    if resumed is not None:
        session.restore(resumed.tensors)
    sizes = ", ".join(f"{kind} ({parameter_count(head)} parameters)" for kind, head in heads.items())
    note(f"{provenance['count']} images; heads {sizes} on {mean.model.device}")

    def save(current: Session) -> None:
        averaged = dict(current.ema.module.named_children())
        training = {
            "settings": settings,
            "iterations": current.iteration,
            "seconds": current.seconds,
            "data": provenance,
        }
        for kind, spec in specs.items():
            own = {**training, "loss": losses[kind], "relative_to": relative_to[kind]}
            save_head(run.head(kind), averaged[kind], spec, mean.spec, mean.digest, own)

    batches = NoisyBatches(images, mean.spec.data, mean.spec.schedule, config.batch_size, config.flip, config.seed)
    task.train(session, batches, budget, settings, provenance["digest"], save, lambda session: None, intervals)
    return {
        "heads": {kind: str(run.head(kind)) for kind in specs},
        "iterations": session.iteration,
        "seconds": session.seconds,
        "settings": settings,
    }
