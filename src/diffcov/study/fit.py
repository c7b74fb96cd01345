"""Mean model and images in, variance heads out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from diffcov.covariance.ingredients import Ingredients
from diffcov.denoiser.base import View
from diffcov.denoiser.mean_model import PRECISIONS
from diffcov.denoiser.through import through
from diffcov.engines.training.batches import NoisyBatches
from diffcov.engines.training.config import Budget
from diffcov.engines.training.head_fit import HeadObjective, HeadPlan
from diffcov.engines.training.loop import Intervals
from diffcov.engines.training.presets import PRESETS, Preset, choose_preset
from diffcov.engines.training.session import Session
from diffcov.errors import InputError
from diffcov.nets.variance_head import parameter_count
from diffcov.noise import key
from diffcov.store.checkpoint import MeanCheckpoint
from diffcov.store.head import save_head
from diffcov.store.run import RunFolder
from diffcov.study.known import known_ingredients
from diffcov.study.listener import Listener, Silent
from diffcov.study.opening import open_mean, training_examples
from diffcov.study.pictures import resize_told
from diffcov.study.requests.shared import Running
from diffcov.study.requests.train import FitRequest, given
from diffcov.study.settings import (
    HEAD_SHAPE_FIELDS,
    HEADS_OF_BEFORE,
    canonical_head_options,
    head_settings,
    training_config,
)
from diffcov.study.training_run import TrainingRun, check_resume

__all__ = ["Fit", "fit_var_head"]


@dataclass(frozen=True)
class Fit:
    """A fit of heads that has ended.

    Attributes:
        heads: their files, by kind.
        settings: all settings.
        iterations: done.
        seconds: that it took.
    """

    heads: dict[str, Path]
    settings: dict[str, Any]
    iterations: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "heads": {kind: str(path) for kind, path in self.heads.items()},
            "iterations": self.iterations,
            "seconds": self.seconds,
            "settings": self.settings,
        }


def fit_var_head(request: FitRequest, listener: Listener | None = None) -> Fit:
    """Fit (or go on fitting) heads of a run.

    Raises:
        UsageError: settings that contradict each other, or an option that differs from the fit being resumed.
        InputError: no mean, no images, nothing that a head starts from, or nothing to resume.
        OutputError: something is already there.
        Interrupted: the listener wanted to stop; everything is saved.
        NonFiniteError: the loss is no number any more; the last good state is kept.
    """
    say = listener or Silent()
    run, asked = RunFolder(request.place.run), Budget.asked(request.budget.iterations, request.budget.minutes)
    run.require_mean()
    wanted = canonical_head_options(
        {**given(request.heads), **resize_told(request.pictures), **given(request.training)}
    )
    check_resume(request.resume)
    task = TrainingRun("fit-var-head", run.state("heads"), run.log, say)
    resumed = None
    if request.resume.resume:
        resumed = task.resume(wanted, request.resume, HEAD_SHAPE_FIELDS, asked, HEADS_OF_BEFORE)
    mean = open_mean(request.place, Running(request.device))
    if resumed is None:
        preset = _preset(mean)
        settings = head_settings(wanted, preset, mean.settings, mean.digest)
        if "kind" not in wanted:
            settings["kind"] = _startable(run, settings, say)
        task.refuse_existing(request.resume.force, [run.head(kind) for kind in settings["kind"]])
        budget = asked or Budget(preset.head_iterations)
    else:
        settings, budget = resumed.settings, resumed.budget
        mean.trunk.check(task.state, "unfinished fit", settings["trunk"], "diffcov fit-var-head --force")
    mean.model.autocast = PRECISIONS[settings["precision"]]
    config = training_config(settings)
    pictures = replace(request.pictures, size=settings["size"], crop=settings["crop"])
    opened = training_examples(run, mean, say, settings["data"], settings["limit"], pictures)
    if resumed is not None:
        resumed.require_data(opened.provenance["digest"])

    plain = mean.model.plain_features
    plans = [HeadPlan.of(kind, settings["loss"], settings["head"], plain) for kind in settings["kind"]]
    starts = {plan.kind: _start(run, plan, mean, settings.get("guidance", 1.0), say) for plan in plans}
    over = {plan.kind: _over(starts[plan.kind], plan) for plan in plans}
    _check_over(task, settings.setdefault("relative_to", over), over)
    heads = _fresh_heads(plans, mean, starts, config.seed)
    losses = {plan.kind: plan.loss for plan in plans}
    denoiser = through(mean.model, View(guidance=settings.get("guidance", 1.0)))
    session = Session(HeadObjective(denoiser, heads, losses, starts), config)
    if resumed is not None:
        session.restore(resumed.tensors)
    sizes = ", ".join(f"{kind} ({parameter_count(head)} parameters)" for kind, head in heads.items())
    say.note(f"{len(opened.examples)} images; heads {sizes} on {mean.model.device}")

    def save(current: Session) -> None:
        averaged = dict(current.ema.module.named_children())
        training = {
            "settings": settings,
            "iterations": current.iteration,
            "seconds": current.seconds,
            "data": opened.provenance,
        }
        for plan in plans:
            own = {**training, "loss": plan.loss, "relative_to": over[plan.kind]}
            save_head(
                run.head(plan.kind), averaged[plan.kind], plan.spec(mean.model), mean.spec.reading, mean.digest, own
            )

    reading = mean.spec.reading
    batches = NoisyBatches(
        opened.examples, reading.data, reading.schedule, config.batch_size, config.flip, config.seed
    )  # fmt: skip
    intervals = Intervals(request.rhythm.log_every, 60 * request.rhythm.save_minutes)
    task.train(
        session, batches, budget, settings, opened.provenance["digest"], save, lambda session: None, intervals
    )  # fmt: skip
    return Fit({plan.kind: run.head(plan.kind) for plan in plans}, settings, session.iteration, session.seconds)


def _preset(mean: MeanCheckpoint) -> Preset:
    """The preset that the mean was trained by, or the one that fits its images."""
    name = mean.settings.get("preset")
    return PRESETS[name if name in PRESETS else choose_preset(mean.spec.reading.data, mean.model.device.type != "cpu")]


def _startable(run: RunFolder, settings: Mapping[str, Any], say: Listener) -> list[str]:
    """The kinds that are fitted unasked and can start from what the run holds; all of them where it holds nothing."""
    lacking, held = dict[str, str](), False
    for kind in settings["kind"]:
        wanted = HeadPlan.of(kind, settings["loss"], settings["head"]).wanted
        missing = [one for one in wanted if not run.ingredient(one, kind).is_file()]
        held |= len(missing) < len(wanted)
        if missing:
            lacking[kind] = missing[0].command_for(kind)
    if not held:
        return list(settings["kind"])
    for kind, command in lacking.items():
        say.note(f"without {kind}: run {command} first")
    return [kind for kind in settings["kind"] if kind not in lacking]


def _start(run: RunFolder, plan: HeadPlan, mean: MeanCheckpoint, guidance: float, say: Listener) -> Ingredients:
    """What a head starts from and is measured against; warns of a start that was measured at another guidance.

    Raises:
        InputError: something is missing (the command that makes it is named), damaged or made for another mean.
    """
    ingredients, measured_at = known_ingredients(run, plan.kind, plan.wanted, mean)
    plan.require(ingredients)
    if measured_at - {guidance}:
        say.warn(
            f"the {plan.kind} head is fitted at guidance {guidance:g} and starts from what was measured at another; "
            f"measure it with: diffcov estimate-var --guidance {guidance:g} --force"
        )
    return ingredients


def _over(start: Ingredients, plan: HeadPlan) -> dict[str, str]:
    """Digests of the files that a head will belong to for good, by name."""
    kinds = [kind for kind in plan.covariance.needs if kind in start]
    return {kind.file_for(plan.kind): start[kind].digest for kind in kinds}


def _check_over(
    task: TrainingRun, begun: Mapping[str, Mapping[str, str]], over: Mapping[str, Mapping[str, str]]
) -> None:
    """Refuse (InputError) to go on over another table or spectrum than a fit was begun over."""
    for kind, files in begun.items():
        for file, made_with in files.items():
            if over[kind][file] != made_with:
                raise InputError(
                    f"the unfinished {kind} head in {task.state} was begun over another {file} ({made_with[:12]}, this "
                    f"one is {over[kind][file][:12]}); start over with: diffcov fit-var-head --force"
                )


def _fresh_heads(
    plans: Sequence[HeadPlan], mean: MeanCheckpoint, starts: Mapping[str, Ingredients], seed: int
) -> dict[str, nn.Module]:
    heads: dict[str, nn.Module] = {}
    with torch.random.fork_rng(devices=[]):
        for plan in plans:
            torch.manual_seed(key(seed, "initial head weights", plan.kind))
            heads[plan.kind] = plan.spec(mean.model).build(plan.start(starts[plan.kind])).to(mean.model.device)
    return heads
