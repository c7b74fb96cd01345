"""A run in, a set of images out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffcov.diffusion.beginning import Beginning
from diffcov.engines.sampler import Sampler
from diffcov.processes.base import current
from diffcov.store.checkpoint import MeanCheckpoint
from diffcov.store.run import RunFolder
from diffcov.store.sample_set import MANIFEST, load_manifest, refuse_existing_set, write_sample_set
from diffcov.store.unfinished import outlived
from diffcov.study.asked import typed
from diffcov.study.job_array import check_part, draw_part, numbers_asked, parts_of, put_together
from diffcov.study.kept_images import drawing
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
        manifest: everything needed to draw them again; of this call's part, where the set is not whole yet.
        seconds: that drawing took.
        missing: numbers of the images that other jobs have still to draw; none unless this is a part of a set.
        parts: the folder with what is there of a set that is not whole; None if it is.
    """

    folder: Path
    manifest: dict[str, Any]
    seconds: float
    missing: tuple[range, ...] = ()
    parts: Path | None = None

    @property
    def sheet(self) -> Path:
        """The picture to look at, once the set is whole."""
        return self.folder / "grid.png"

    @property
    def shown(self) -> Path:
        """What there is to look at: the sheet, or the folder with the parts."""
        return self.sheet if self.parts is None else self.parts

    def as_dict(self) -> dict[str, Any]:
        """The manifest and the paths, as plain values; what is missing by its first and last number."""
        found = {**self.manifest, "seconds": self.seconds, "out": str(self.folder)}
        if self.parts is None:
            return {**found, "grid": str(self.sheet)}
        missing = [[numbers.start, numbers.stop - 1] for numbers in self.missing]
        return {**found, "parts": str(self.parts), "missing": missing}


def draw_samples(request: SampleRequest, listener: Listener | None = None) -> SampleSet:
    """Draw samples of a run: a sheet, the images, and a manifest that says how to repeat them.

    With ``of`` they are a part of one set, which the request that completes it writes.

    Raises:
        UsageError: options that contradict each other or have no meaning for this mean.
        InputError: no mean, or something that the covariance needs is missing, damaged or of another mean.
        OutputError: something is already there.
        NonFiniteError: NaN or infinity in an image.
    """
    check_part(request)
    say = listener or Silent()
    run = RunFolder(request.place.run)
    mean = open_mean(request.place, request.running, say, request.batch_size)
    scaling = Scaling(request.view.eps_scale, run, mean, request.batch_size, say)
    asked = _Drawing(request, mean, scaling, planned(request, run, mean, scaling, say), say)
    label = asked.plan.sampler.label
    if request.of is not None:
        return asked.part(request.out or run.samples / label)
    return asked.whole(request.out or run.samples / (label + (f"-from{request.first}" if request.first else "")))


@dataclass(frozen=True)
class _Drawing:
    """What is drawn, and whatever it takes."""

    request: SampleRequest
    mean: MeanCheckpoint
    scaling: Scaling
    plan: Plan
    say: Listener
    spent: list[float] = field(default_factory=list)
    """Seconds that drawing took, once it is done."""

    def whole(self, folder: Path) -> SampleSet:
        """A set of its own."""
        request = self.request
        outlived(folder, folder / MANIFEST)
        refuse_existing_set(folder.absolute(), request.force)
        with self._images(folder) as (manifest, batches):
            write_sample_set(
                folder.absolute(),
                batches,
                self.mean.model.data.levels,
                request.formats,
                request.first,
                manifest,
                self._rows,
                self.plan.sampler.labels_of,
                replace=request.force,
            )
        return SampleSet(folder, {**manifest, "count": request.count}, self.spent[0])

    def part(self, folder: Path) -> SampleSet:
        """A part of a set, and the set if that makes it whole."""
        request, data, plain = self.request, self.mean.model.data, self.plan.sampler
        parts = parts_of(request, folder, plain)
        place = parts.place(numbers_asked(request))
        draw_part(parts, request, data, partial(self._images, place), self.say)
        seconds = sum(self.spent)
        incomplete = put_together(parts, request, data, plain, self._rows, self.say)
        if incomplete is None:
            outlived(folder, folder / MANIFEST)
            return SampleSet(folder, current().once(lambda: load_manifest(folder)), seconds)
        return SampleSet(folder, incomplete.manifest, seconds, incomplete.missing, parts.folder)

    @contextmanager
    def _images(self, folder: Path) -> Iterator[tuple[dict[str, Any], Iterator[Tensor]]]:
        """The manifest, and the images, drawn while they are asked for and kept beside ``folder`` until all are there.

        A scale is fitted if it has to be.
        """
        request, sampler = self.request, self.scaling.applied(self.plan.sampler)
        work = Work(min(request.batch_size, request.count), _looks(request, sampler) * sampler.denoiser.calls)
        choose_way(self.mean.model, work, request.running.compile, self.say)
        manifest, started = _manifest(request, self.mean, sampler, self.plan), time.monotonic()
        with drawing(sampler, request, folder, self.say) as batches:
            yield manifest, batches
        self.spent.append(time.monotonic() - started)
        recipe = self.plan.recipe
        how = f"{sampler.covariance.name}, {sampler.solver.label}" if recipe is None else recipe.label
        self.say.note(f"{request.count} images in {sampler.grid.K} steps by {how}: {self.spent[-1]:.1f} s")

    @property
    def _rows(self) -> int | None:
        """Rows of the sheet: one a class."""
        classes = self.plan.sampler.classes
        return None if classes is None else len(classes.labels)


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
        "begins": {**Beginning.of(sampler.grid, mean.model.schedule).as_dict(), "with_noise": sampler.start is None},
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
