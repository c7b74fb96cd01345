"""A run in, a set of images out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diffcov.engines.sampler import Sampler
from diffcov.engines.sampling import generate
from diffcov.store.checkpoint import MeanCheckpoint
from diffcov.store.run import RunFolder
from diffcov.store.sample_set import refuse_existing_set, write_sample_set
from diffcov.study.asked import typed
from diffcov.study.listener import Listener, Silent
from diffcov.study.opening import open_mean
from diffcov.study.planning import Plan, planned
from diffcov.study.quickest import Work, choose_way
from diffcov.study.requests.draw import SampleRequest
from diffcov.study.scale import Scaling
from diffcov.version import __version__

__all__ = ["SampleSet", "draw_samples"]


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
    mean = open_mean(request.place, request.running, say, request.batch_size)
    scaling = Scaling(request.view.eps_scale, run, mean, request.batch_size, say)
    plan = planned(request, run, mean, scaling, say)
    plain = plan.sampler
    label = plain.label + (f"-from{request.first}" if request.first else "")
    folder = request.out or run.samples / label
    refuse_existing_set(folder.absolute(), request.force)
    sampler = scaling.applied(plain)
    work = Work(min(request.batch_size, request.count), _looks(request, sampler) * sampler.denoiser.calls)
    choose_way(mean.model, work, request.running.compile, say)
    manifest = _manifest(request, mean, sampler, plan)
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
            replace=request.force,
        )
    seconds = time.monotonic() - started
    how = f"{sampler.covariance.name}, {sampler.solver.label}" if plan.recipe is None else plan.recipe.label
    say.note(f"{request.count} images in {sampler.grid.K} steps by {how}: {seconds:.1f} s")
    return SampleSet(folder, {**manifest, "count": request.count}, seconds)


def _looks(request: SampleRequest, sampler: Sampler) -> int:
    return sampler.grid.K * -(-request.count // request.batch_size)


def _manifest(request: SampleRequest, mean: MeanCheckpoint, sampler: Sampler, plan: Plan) -> dict[str, Any]:
    looks = _looks(request, sampler)
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
        "covariance_measured_at_this_guidance": plan.measured_there,
        **({} if plan.recipe is None else {"recipe": plan.recipe.as_dict()}),
        "first": request.first,
        "batch_size": request.batch_size,
        "looks": looks,
        "network_calls": looks * sampler.denoiser.calls,
        "call": mean.model.caller.way.as_dict(),
        "device": str(mean.model.device),
        "reading": mean.spec.reading.as_dict(),
    }
