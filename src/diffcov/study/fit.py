"""Mean model and images in, variance heads out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from diffcov.denoiser.base import View
from diffcov.denoiser.mean_model import PRECISIONS
from diffcov.denoiser.through import through
from diffcov.engines.training.batches import NoisyBatches
from diffcov.engines.training.config import Budget
from diffcov.engines.training.early_stopping import PATIENCE, EarlyStopping
from diffcov.engines.training.head_fit import HeadObjective, HeadPlan
from diffcov.engines.training.held_out import HeldOut, held_out_count, hold_out
from diffcov.engines.training.loop import Intervals
from diffcov.engines.training.presets import head_budget
from diffcov.engines.training.session import Session
from diffcov.errors import UsageError
from diffcov.nets.variance_head import parameter_count
from diffcov.store.head import save_head
from diffcov.store.run import RunFolder
from diffcov.study.called import call_as_begun, call_quickly, without_auto
from diffcov.study.head_start import check_over, digests_under, fresh_heads, start_of, startable
from diffcov.study.head_states import owned_fit
from diffcov.study.listener import Listener, Silent
from diffcov.study.opening import open_mean, training_examples
from diffcov.study.pictures import resize_told
from diffcov.study.precision import warn_of_slow_precision
from diffcov.study.requests.shared import Running
from diffcov.study.requests.train import FitRequest, given
from diffcov.study.settings import (
    HEAD_SHAPE_FIELDS,
    HEADS_OF_BEFORE,
    canonical_head_options,
    head_settings,
    training_config,
)
from diffcov.study.training_run import Resumption, TrainingRun, check_resume

__all__ = ["Fit", "fit_var_head"]


@dataclass(frozen=True)
class Fit:
    """A fit of heads that has ended.

    Attributes:
        heads: their files, by kind.
        settings: all settings.
        iterations: done.
        seconds: that it took.
        held_out: number of images that no head was fitted on.
        judged: by kind, the nats of those images (smoothed; None without any) and the iterations of the weights kept.
    """

    heads: dict[str, Path]
    settings: dict[str, Any]
    iterations: int
    seconds: float
    held_out: int
    judged: dict[str, dict[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "heads": {kind: str(path) for kind, path in self.heads.items()},
            "iterations": self.iterations,
            "seconds": self.seconds,
            "held_out": self.held_out,
            "judged": self.judged,
            "settings": self.settings,
        }


def fit_var_head(request: FitRequest, listener: Listener | None = None) -> Fit:
    """Fit (or go on fitting) heads of a run.

    Fits of different kinds may go on side by side.

    Raises:
        UsageError: settings that contradict each other, or an option that differs from the fit being resumed.
        InputError: no mean, no images, nothing that a head starts from, or nothing to resume.
        OutputError: something is already there, or somebody else is fitting one of these kinds.
        Interrupted: the listener wanted to stop; everything is saved.
        NonFiniteError: the loss is no number any more; the last good state is kept.
    """
    with owned_fit(request) as state:
        return _fit(request, state, listener or Silent())


def _fit(request: FitRequest, state: str, say: Listener) -> Fit:
    """The same in the state of this name."""
    run, asked = RunFolder(request.place.run), Budget.asked(request.budget.iterations, request.budget.minutes)
    wanted = canonical_head_options(
        {**given(request.heads), **resize_told(request.pictures), **given(request.training)}
    )
    check_resume(request.resume)
    task = TrainingRun("fit-var-head", run.state(state), run.log, say)
    resumed = None
    if request.resume.resume:
        resumed = task.resume(without_auto(wanted), request.resume, HEAD_SHAPE_FIELDS, asked, HEADS_OF_BEFORE)
    mean = open_mean(request.place, Running(request.device))
    if resumed is None:
        settings = head_settings(without_auto(wanted), mean.settings, mean.digest)
        if "kind" not in wanted:
            settings["kind"] = startable(run, settings, say)
        task.refuse_existing(request.resume.force, [run.head(kind) for kind in settings["kind"]])
    else:
        settings = resumed.settings
        mean.trunk.check(task.state, "unfinished fit", settings["trunk"], "diffcov fit-var-head --force")
    task = replace(task, kinds=",".join(settings["kind"]))
    mean.model.autocast = PRECISIONS[settings["precision"]]
    warn_of_slow_precision(settings["precision"], mean.model.device, say)
    config = training_config(settings)
    pictures = replace(
        request.pictures, size=settings["size"], crop=settings["crop"], drop_alpha=settings["drop_alpha"]
    )
    opened = training_examples(run, mean, say, settings["data"], settings["limit"], pictures)
    count, patience = len(opened.examples), _patience(request, resumed)
    if resumed is not None:
        resumed.require_data(opened.provenance["digest"])
        budget = resumed.budget
    else:
        settings["held_out"] = held_out_count(count) if patience else 0
        budget = asked or head_budget(count - settings["held_out"], config.batch_size)
    fitted, held = hold_out(opened.examples, settings["held_out"])

    plain = mean.model.plain_features
    plans = [HeadPlan.of(kind, settings["loss"], settings["head"], plain) for kind in settings["kind"]]
    starts = {plan.kind: start_of(run, plan, mean, settings.get("guidance", 1.0), say) for plan in plans}
    over = {plan.kind: digests_under(starts[plan.kind], plan) for plan in plans}
    check_over(task, settings.setdefault("relative_to", over), over)
    denoiser = through(mean.model, View(guidance=settings.get("guidance", 1.0)))
    if resumed is not None:
        call_as_begun(mean.model, settings, say, training=False)
    else:
        call_quickly(mean.model, settings, wanted, budget, say, training=False)
        config = training_config(settings)
    heads = fresh_heads(plans, mean, starts, config.seed)
    losses = {plan.kind: plan.loss for plan in plans}
    objective, reading = HeadObjective(denoiser, heads, losses, starts), mean.spec.reading
    batches = NoisyBatches(fitted, reading.data, reading.schedule, config.batch_size, config.flip, config.seed)
    stopping = None
    if len(held):
        stopping = EarlyStopping(objective, HeldOut(held, batches), patience, config.batch_size)
    session = Session(objective, config, stopping)
    if resumed is not None:
        session.restore(resumed.tensors)
    sizes = ", ".join(f"{kind} ({parameter_count(head)} parameters)" for kind, head in heads.items())
    say.note(f"{count} images, {_ending(len(held), patience, budget)}; heads {sizes} on {mean.model.device}")

    def save(current: Session) -> None:
        for plan in plans:
            judged = _kept(current, plan.kind)
            training = {
                "settings": settings,
                "iterations": judged.iteration,
                "seconds": current.seconds,
                "data": opened.provenance,
                "held_out": {"images": len(held), "nats": judged.nats},
                "loss": plan.loss,
                "relative_to": over[plan.kind],
            }
            save_head(run.head(plan.kind), judged.head, plan.spec(mean.model), reading, mean.digest, training)

    intervals = Intervals(request.rhythm.log_every, 60 * request.rhythm.save_minutes)
    task.train(
        session, batches, budget, settings, opened.provenance["digest"], save, lambda session: None, intervals, patience
    )  # fmt: skip
    kept = {kind: _kept(session, kind) for kind in heads}
    for kind, one in kept.items():
        if one.nats is not None:
            say.note(f"{kind}: {one.nats:.4f} nats of held-out images, after {one.iteration} iterations")
    judged = {kind: {"nats": one.nats, "iterations": one.iteration} for kind, one in kept.items()}
    files = {plan.kind: run.head(plan.kind) for plan in plans}
    return Fit(files, settings, session.iteration, session.seconds, len(held), judged)


@dataclass(frozen=True)
class _Kept:
    """A head as it is kept: its weights, the iteration they are of, and their smoothed nats on held-out images."""

    head: nn.Module
    iteration: int
    nats: float | None


def _kept(session: Session, kind: str) -> _Kept:
    averaged, stopping = session.ema.module, session.stopping
    if isinstance(stopping, EarlyStopping):
        head, iteration = stopping.kept(averaged, session.iteration)[kind]
        return _Kept(head, iteration, stopping.curves[kind].best)
    return _Kept(averaged.get_submodule(kind), session.iteration, None)


def _patience(request: FitRequest, resumed: Resumption | None) -> int:
    """The patience that is asked for, else the one that the fit has.

    Raises:
        UsageError: a fit that goes on, asked for patience, and held no images out.
    """
    if resumed is None:
        return PATIENCE if request.patience is None else request.patience
    if request.patience and not resumed.settings["held_out"]:
        raise UsageError(
            "--patience goes by images that are held out, and the fit being resumed has seen them all; leave it out, "
            "or start over with --force"
        )
    return resumed.patience if request.patience is None else request.patience


def _ending(held: int, patience: int, budget: Budget) -> str:
    """When a fit will end, in words."""
    most = [f"{budget.iterations} iterations"] if budget.iterations is not None else []
    most += [f"{budget.minutes:g} minutes"] if budget.minutes is not None else []
    if not held:
        return f"none held out; ends after {' or '.join(most)}"
    until = f"ends after {patience} evaluations with no gain" if patience else "ends"
    return f"{held} of them held out; {until}, at most after {' or '.join(most)}"
