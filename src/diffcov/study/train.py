"""Images in, mean model out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.spec import MeanSpec
from diffcov.engines.training.batches import NoisyBatches
from diffcov.engines.training.config import Budget, TrainingConfig
from diffcov.engines.training.loop import Intervals, require_enough
from diffcov.engines.training.mean_fit import MeanObjective
from diffcov.engines.training.presets import PRESETS
from diffcov.engines.training.session import Session
from diffcov.errors import InputError, UsageError
from diffcov.nets.unet import UNet
from diffcov.nets.variance_head import parameter_count
from diffcov.noise import key
from diffcov.store.checkpoint import save_mean
from diffcov.store.datasets import ImageDataset, Resize, canonical_source, load_images
from diffcov.store.ownership import MEAN
from diffcov.store.run import RunFolder
from diffcov.study.called import call_as_begun, call_quickly, without_auto
from diffcov.study.device import pick_device
from diffcov.study.listener import Listener, Silent
from diffcov.study.owning import owning
from diffcov.study.pictures import resize_asked, room_for, tell_data
from diffcov.study.precision import warn_of_slow_precision
from diffcov.study.preview import Previews
from diffcov.study.rehearsal import Rehearsal, refuse_large_images, rehearse
from diffcov.study.requests.train import TrainRequest, given
from diffcov.study.settings import OF_BEFORE, SHAPE_FIELDS, mean_settings, mean_spec, training_config
from diffcov.study.training_run import Resumption, TrainingRun, check_resume

__all__ = ["Trained", "train_mean"]

SMALL_BATCH = 16
"""Below this a learning rate meant for large batches may diverge."""


@dataclass(frozen=True)
class Trained:
    """A training that has ended, or that was only planned.

    Attributes:
        mean: the file; None for a plan.
        settings: all settings.
        iterations: done, or planned.
        seconds: that it took; None for a plan.
        minutes: the budget of a plan.
        rehearsal: what a plan would cost.
    """

    mean: Path | None
    settings: dict[str, Any]
    iterations: int | None
    seconds: float | None = None
    minutes: float | None = None
    rehearsal: Rehearsal | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        if self.mean is None:
            cost = {} if self.rehearsal is None else self.rehearsal.as_dict()
            return {"settings": self.settings, "iterations": self.iterations, "minutes": self.minutes, **cost}
        return {
            "mean": str(self.mean),
            "iterations": self.iterations,
            "seconds": self.seconds,
            "settings": self.settings,
        }


@owning("train-mean", lambda request: [] if request.dry_run else [MEAN])
def train_mean(request: TrainRequest, listener: Listener | None = None) -> Trained:
    """Train (or go on training) the mean model of a run.

    Raises:
        UsageError: settings that contradict each other, or an option that differs from the training being resumed.
        InputError: images that cannot be read, or nothing to resume.
        OutputError: something is already there.
        Interrupted: the listener wanted to stop; everything is saved.
        NonFiniteError: the loss is no number any more; the last good state is kept.
    """
    say = listener or Silent()
    run, asked = RunFolder(request.place.run), Budget.asked(request.budget.iterations, request.budget.minutes)
    wanted = {**given(request.network), **given(request.training)}
    if "data" in wanted:
        wanted["data"] = canonical_source(wanted["data"])
    resize, room = resize_asked(request.pictures), room_for(request.pictures)
    wanted |= {} if resize is None else resize.as_dict()
    check_resume(request.resume)
    device = pick_device(request.device)
    task = TrainingRun("train-mean", run.state("mean"), run.log, say)
    resumed = _resumed(task, wanted, request, asked) if request.resume.resume else None
    if resumed is None:
        task.refuse_existing(request.resume.force or request.dry_run, [run.mean])
        images = load_images(wanted.get("data", "digits"), wanted.get("limit"), resize=resize, room=room)
        wanted["classes"] = _classes(images) if wanted.get("classes") else 0
        settings = mean_settings(
            {**without_auto(wanted), "data": images.source}, images.description, gpu=device.type != "cpu"
        )
        refuse_large_images(settings, wanted, images.description, device, _session)
        budget = asked or Budget(PRESETS[settings["preset"]].iterations)
    else:
        settings, budget = resumed.settings, resumed.budget
        images = load_images(settings["data"], settings["limit"], resize=Resize.from_dict(settings), room=room)
    tell_data(images, say)
    provenance = images.provenance(settings["limit"], labelled=bool(settings.get("classes")))
    if resumed is not None:
        _check_labels(images, settings.get("classes", 0))
        resumed.require_data(provenance["digest"])
    spec, config = mean_spec(settings, images.description), training_config(settings)
    require_enough(config.batch_size, request.memory.accumulate)
    _warn(spec, config, say)
    warn_of_slow_precision(spec.precision, device, say)
    model = _fresh(spec, config, device, request.memory.checkpoint_activations).train()
    if resumed is not None:
        call_as_begun(model, settings, say, training=True, accumulate=request.memory.accumulate)
    elif not request.dry_run:
        call_quickly(model, settings, wanted, budget, say, training=True, accumulate=request.memory.accumulate)
        spec, config = mean_spec(settings, images.description), training_config(settings)
    session = Session(MeanObjective(model), config)
    if resumed is not None:
        session.restore(resumed.tensors)
    millions = parameter_count(session.objective.module) / 1e6
    say.note(f"U-Net with {millions:.2f} M parameters on {session.device}")

    def save(current: Session) -> None:
        training = {"settings": settings, "iterations": current.iteration, "data": provenance}
        save_mean(run.mean, current.ema.module, spec, training)

    examples = (images.examples if spec.reading.classes else images.examples.unlabelled()).to(session.device)
    batches = NoisyBatches(
        examples, images.description, spec.reading.schedule, config.batch_size, config.flip, config.seed,
        settings.get("label_dropout", 0.0),
    )  # fmt: skip
    if request.dry_run:
        cost = rehearse(session, batches, budget, request.memory.accumulate)
        say.note(str(cost))
        few = cost.warning(PRESETS[settings["preset"]].iterations)
        if few is not None:
            say.warn(few)
        return Trained(None, settings, budget.iterations, minutes=budget.minutes, rehearsal=cost)
    previews = Previews(run.samples / "training", spec, config.seed, request.preview_minutes, say)
    if not session.over(budget):
        previews.announce()
    rhythm = request.rhythm
    intervals = Intervals(rhythm.log_every, 60 * rhythm.save_minutes, 60 * request.preview_minutes or float("inf"))
    task.train(
        session, batches, budget, settings, provenance["digest"], save, previews.draw, intervals,
        accumulate=request.memory.accumulate,
    )  # fmt: skip
    previews.finish(session)
    return Trained(run.mean, settings, session.iteration, session.seconds)


def _resumed(task: TrainingRun, wanted: dict[str, Any], request: TrainRequest, asked: Budget | None) -> Resumption:
    if "classes" in wanted:  # told as yes or no, kept as their number
        stored = task.stored_settings().get("classes", 0)
        if bool(stored) != wanted["classes"]:
            there = f"knows {stored} classes" if stored else "knows no classes"
            raise UsageError(
                f"the training being resumed {there}, which cannot change; leave --classes and --no-classes out, or "
                "start over with --force"
            )
        wanted["classes"] = stored
    return task.resume(without_auto(wanted), request.resume, SHAPE_FIELDS, asked, OF_BEFORE)


def _classes(images: ImageDataset) -> int:
    if images.classes < 2:
        raise InputError(
            f"--classes needs labels, and {images.source} has none that tell images apart: MNIST's idx and CIFAR "
            "files, npz with labels and folders with a subfolder a class carry them; leave --classes out"
        )
    return images.classes


def _check_labels(images: ImageDataset, classes: int) -> None:
    """Refuse (InputError) to go on without the labels that a training began with."""
    if classes and images.classes != classes:
        raise InputError(
            f"the training being resumed knows {classes} classes and {images.source} has {images.classes or 'no'} "
            "labelled ones; restore its labels, or start over with --force"
        )


def _fresh(
    spec: MeanSpec, config: TrainingConfig, device: torch.device, checkpoint_activations: bool = False
) -> MeanModel:
    """A model with fresh weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(config.seed, "initial weights"))
        model = spec.build().to(device)
    if isinstance(model.network, UNet):
        model.network.checkpointed = checkpoint_activations
    return model


def _session(spec: MeanSpec, config: TrainingConfig, device: torch.device) -> Session:
    """A session with fresh weights."""
    return Session(MeanObjective(_fresh(spec, config, device)), config)


def _warn(spec: MeanSpec, config: TrainingConfig, say: Listener) -> None:
    warning = spec.reading.schedule.warning
    if warning:
        say.warn(warning)
    if config.batch_size < SMALL_BATCH:
        say.warn(
            f"batch size {config.batch_size} is small for learning rate {config.lr:g}; if the loss jumps, lower --lr"
        )
