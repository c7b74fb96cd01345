"""A run in, a set of images out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diffcov.denoiser.base import View
from diffcov.denoiser.through import through
from diffcov.engines.classes import Classes
from diffcov.engines.last_noise import default_cap_levels
from diffcov.engines.sampler import Sampler
from diffcov.engines.sampling import generate
from diffcov.errors import UsageError
from diffcov.store.checkpoint import MeanCheckpoint
from diffcov.store.run import RunFolder
from diffcov.store.sample_set import refuse_existing_set, write_sample_set
from diffcov.study.asked import typed
from diffcov.study.choice import AUTO, Use, choose
from diffcov.study.grids import NAMED, OPTIMAL, check_made_for, grid_name, open_optimal, pick_grid
from diffcov.study.known import known_covariance, known_solver, warn_of_view
from diffcov.study.listener import Listener, Silent
from diffcov.study.opening import open_mean
from diffcov.study.requests.draw import ALL, OFF, SampleRequest
from diffcov.study.scale import Scaling
from diffcov.version import __version__

__all__ = ["SampleSet", "chosen_classes", "draw_samples", "plan_sampler"]

STEPS = 50
"""Steps where nobody says how many."""


@dataclass(frozen=True)
class SampleSet:
    """Images on disk.

    Attributes:
        folder: where, as it was named.
        manifest: everything needed to draw them again.
        seconds: that drawing took.
    """

    folder: Path
    manifest: dict[str, Any]
    seconds: float

    @property
    def sheet(self) -> Path:
        """The picture to look at."""
        return self.folder / "grid.png"

    def as_dict(self) -> dict[str, Any]:
        """The manifest and the paths, as plain values."""
        return {**self.manifest, "seconds": self.seconds, "out": str(self.folder), "grid": str(self.sheet)}


def draw_samples(request: SampleRequest, listener: Listener | None = None) -> SampleSet:
    """Draw samples of a run: a sheet, the images, and a manifest that says how to repeat them.

    Raises:
        UsageError: options that contradict each other or have no meaning for this mean.
        InputError: no mean, or something that the covariance needs is missing, damaged or of another mean.
        OutputError: something is already there.
        NonFiniteError: NaN or infinity in an image.
    """
    say = listener or Silent()
    run = RunFolder(request.place.run)
    mean = open_mean(request.place, request.running)
    scaling = Scaling(request.view.eps_scale, run, mean, request.batch_size, say)
    plain, measured_there = _planned(request, run, mean, scaling, say)
    label = plain.label + (f"-from{request.first}" if request.first else "")
    folder = request.out or run.samples / label
    refuse_existing_set(folder.absolute(), request.force)
    sampler = scaling.applied(plain)
    manifest = _manifest(request, mean, sampler, measured_there)
    rows = None if sampler.classes is None else len(sampler.classes.labels)
    started = time.monotonic()
    with say.progress("sample", request.count, "images") as bar:
        batches = generate(
            sampler, request.count, batch_size=request.batch_size, first=request.first, on_batch=bar.update
        )
        write_sample_set(
            folder.absolute(),
            batches,
            mean.model.data.levels,
            request.formats,
            request.first,
            manifest,
            rows,
            sampler.labels_of,
        )
    seconds = time.monotonic() - started
    say.note(
        f"{request.count} images in {sampler.grid.K} steps by {sampler.covariance.name}, {sampler.solver.label}: "
        f"{seconds:.1f} s"
    )
    return SampleSet(folder, {**manifest, "count": request.count}, seconds)


def plan_sampler(request: SampleRequest, mean: MeanCheckpoint, listener: Listener) -> Sampler:
    """The sampler that a request would draw with; a scale that is to be fitted is fitted.

    Raises:
        UsageError, InputError, NonFiniteError: as for :func:`draw_samples`.
    """
    run = RunFolder(request.place.run)
    scaling = Scaling(request.view.eps_scale, run, mean, request.batch_size, listener)
    plain, _ = _planned(request, run, mean, scaling, listener)
    return scaling.applied(plain)


def _planned(
    request: SampleRequest, run: RunFolder, mean: MeanCheckpoint, scaling: Scaling, say: Listener
) -> tuple[Sampler, bool]:
    """The sampler, its scale not fitted yet, and whether its covariance was measured at its guidance."""
    chosen, view = request.sampler, request.view
    schedule, solver = mean.model.schedule, known_solver(run, chosen, mean)
    name = grid_name(chosen.grid)
    steps = min(STEPS, schedule.T) if request.steps is None and name in NAMED else request.steps
    K = steps if steps is not None else name.count(",") + 1
    choice = choose(run, request.covariance, mean, None if name == OPTIMAL else Use(solver, K, name, view))
    optimal = open_optimal(name, run, choice.name, mean.trunk)
    grid = pick_grid(name, schedule, steps, optimal)
    denoiser = through(mean.model, View(view.clip_x0, scaling.number, view.guidance))
    classes = chosen_classes(request.classes, mean)
    known = known_covariance(run, choice.name, mean, grid.times)
    check_made_for(optimal, known.covariance, view.clip_x0, view.guidance)
    if request.covariance == AUTO:
        say.note(f"covariance: {choice.name} ({choice.why}; choose another with --covariance)")
        if not known.covariance.needs and not known.covariance.reads_range and not choice.measured:
            say.warn(
                "the run holds no variance table and no head; make them with diffcov estimate-var and diffcov "
                "fit-var-head"
            )
    if optimal is not None and solver.why_no_bound is not None:
        say.warn(f"these times have the best bound, and that is DDPM's: they mean little for {solver.label}")
    warn_of_view([known], view.clip_x0, view.guidance, say)
    sampler = Sampler(
        denoiser=denoiser,
        covariance=known.covariance,
        solver=solver,
        grid=grid,
        cap_levels=_cap_levels(request, default_cap_levels(schedule, solver)),
        classes=classes,
        seed=request.seed,
        scale_fit=scaling.plan(),
        share=chosen.share,
    )
    return sampler, known.measured_at(view.guidance)


def _cap_levels(request: SampleRequest, published: float) -> float | None:
    if request.last_noise == AUTO:
        return published
    return None if request.last_noise == OFF else float(request.last_noise)


def chosen_classes(asked: tuple[str, ...] | None, mean: MeanCheckpoint) -> Classes | None:
    """The classes that were asked for by number or by the word for all; all that the mean knows if none were.

    Raises:
        UsageError: a class that the mean does not know, one twice, or any for a mean without classes.
    """
    known = mean.model.classes
    if asked is None:
        return Classes.all(known) if known else None
    if not known:
        raise UsageError(
            "--class was given, and this mean knows no classes; train one with diffcov train-mean --classes"
        )
    if ALL in asked:
        if len(asked) > 1:
            raise UsageError(f"--class {ALL} names every class already; found {','.join(map(str, asked))}")
        return Classes.all(known)
    return Classes.chosen([int(number) for number in asked], known)


def _manifest(request: SampleRequest, mean: MeanCheckpoint, sampler: Sampler, measured_there: bool) -> dict[str, Any]:
    batches = -(-request.count // request.batch_size)
    return {
        "diffcov_version": __version__,
        "torch_version": torch.__version__,
        "command": typed("sample", request),
        "mean": {"path": str(RunFolder(request.place.run).mean), "digest": mean.digest},
        "sampler": sampler.as_dict(),
        "sampler_digest": sampler.digest,
        "covariance": sampler.covariance.name,
        "solver": sampler.solver.label,
        "steps": sampler.grid.K,
        "eps_scale_value": sampler.denoiser.view.eps_scale,
        "covariance_measured_at_this_guidance": measured_there,
        "first": request.first,
        "batch_size": request.batch_size,
        "looks": sampler.grid.K * batches,
        "network_calls": sampler.grid.K * batches * sampler.denoiser.calls,
        "device": str(mean.model.device),
        "reading": mean.spec.reading.as_dict(),
    }
