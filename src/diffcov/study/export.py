"""A run's mean and one covariance out, as a pipeline that diffusers loads and samples with in few steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from diffcov.covariance.base import Covariance
from diffcov.covariance.ingredients import FittedHead
from diffcov.covariance.registry import PREFERENCE, load
from diffcov.engines.classes import Classes
from diffcov.engines.recipe import NOTHING
from diffcov.errors import InputError, UsageError
from diffcov.exported.solvers import check_along
from diffcov.nets.adapters.diffusers_unet import DiffusersUNet
from diffcov.store.atomic import refuse_existing
from diffcov.store.checkpoint import MeanCheckpoint
from diffcov.store.head import load_head
from diffcov.store.pipeline_folder import Pipeline, check_replaceable, library, write_pipeline
from diffcov.store.run import RunFolder
from diffcov.study.choice import choose
from diffcov.study.exported_models import exported_head, exported_unet
from diffcov.study.exported_recipe import Wanted, wanted_recipe
from diffcov.study.exported_scheduler import scheduler_config
from diffcov.study.known import solver_statistics
from diffcov.study.listener import Listener, Silent
from diffcov.study.opening import open_mean
from diffcov.study.requests.export import ExportRequest
from diffcov.study.requests.shared import Running
from diffcov.study.requests.words import AUTO
from diffcov.study.samplers import Samplers

__all__ = ["Exported", "export_model"]

USUAL = (-1.0, 1.0)
"""The range of images that pipelines of diffusers know."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        folder: where.
        covariance: its name.
        pipeline: whether the network is there too, so that the folder is a whole pipeline.
    """

    folder: Path
    covariance: str
    pipeline: bool

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"out": str(self.folder), "covariance": self.covariance, "pipeline": self.pipeline}


def export_model(request: ExportRequest, listener: Listener | None = None) -> Exported:
    """Write a folder that diffusers reads; nothing of diffcov is needed to sample from it.

    Raises:
        UsageError: no folder, options that contradict each other, or a covariance that has no meaning for the solver.
        InputError: no mean, a solver of an extension, something of the run that the sampler lacks, a covariance that
            says no form, or a head for a network that cannot leave.
        OutputError: the folder exists, or the file system refuses.
    """
    say = listener or Silent()
    if request.out is None:
        raise UsageError("export to where? give a folder: diffcov export --out DIR")
    library()
    refuse_existing(request.out, request.force)
    check_replaceable(request.out)
    mean = open_mean(request.place, Running(device="cpu"))
    wanted, unet = wanted_recipe(request, mean), exported_unet(mean)
    exporting = Exporting(RunFolder(request.place.run), mean, say, heads=unet is not None)
    solver = exporting.samplers.solver(wanted.recipe)
    check_along(solver)
    exporting.samplers.start(wanted.recipe)  # like an error of the solver, said before covariances are tried
    if request.recipe is None and request.covariance == AUTO and not wanted.choose:
        say.note(
            f"covariance: {NOTHING} ({solver.name} is published without a covariance; choose another with --covariance)"
        )
    covariance, config = exporting.chosen(wanted) if wanted.choose else exporting.told(wanted)
    pipeline = _pipeline(exporting.run, mean, covariance, config, unet)
    write_pipeline(request.out.absolute(), pipeline, replace=request.force)
    if unet is None:
        say.note("the network is a program or a module of yours: the folder holds the scheduler and the tables alone")
    elif mean.model.autocast is not None:
        say.note(
            f"the network computes in {mean.model.precision} here, and in float32 where it is loaded from the folder"
        )
    return Exported(request.out, covariance.name, unet is not None)


@dataclass(frozen=True)
class Exporting:
    """A run whose sampler is about to leave.

    Attributes:
        run, mean: what it holds.
        say: who is told.
        heads: whether the network leaves too: a head is nothing without its features.
    """

    run: RunFolder
    mean: MeanCheckpoint
    say: Listener
    heads: bool

    @cached_property
    def samplers(self) -> Samplers:
        """What it can draw with; classes are told to the pipeline and not to the scheduler."""
        classes = self.mean.model.classes
        return Samplers(self.run, self.mean, classes=Classes.all(classes) if classes else None)

    def told(self, wanted: Wanted) -> tuple[Covariance, dict[str, Any]]:
        """The covariance that a recipe names, and the configuration of the scheduler.

        Raises:
            InputError, UsageError: as for :func:`export_model`.
        """
        self._check_head(choose(self.run, wanted.recipe.covariance, self.mean).name)
        return self._configured(wanted)

    def chosen(self, wanted: Wanted) -> tuple[Covariance, dict[str, Any]]:
        """The first covariance in the order of preference that can be exported with the recipe, and the configuration.

        Those before it are told, with what is in their way: it may be a damaged file.

        Raises:
            InputError, UsageError: as for :func:`export_model`.
        """
        held = self.run.available()
        for name in (name for name in PREFERENCE if held.get(name, "") is None):
            kind = load(name)
            if kind.reads_range or (FittedHead in kind.needs and not self.heads):
                continue
            try:
                found = self._configured(replace(wanted, recipe=replace(wanted.recipe, covariance=name)))
            except InputError as error:
                self.say.note(f"without {name}: {error}")  # matrices: the next may be a table
                continue
            self.say.note(f"covariance: {name} (usually the best of those that can be exported)")
            if not kind.needs:
                self.say.warn("the run holds no variance table; make one with diffcov estimate-var")
            return found
        raise InputError(
            f"{self.run.path} holds no covariance that can be exported; measure a table with diffcov estimate-var"
        )

    def _configured(self, wanted: Wanted) -> tuple[Covariance, dict[str, Any]]:
        sampler = self.samplers.sampler(wanted.recipe, wanted.steps or 1)
        sampler.solver.steps(sampler.denoiser.schedule, sampler.grid)  # one eta a step has to be one for each
        sampler.covariance.check_times(tuple(range(1, self.mean.model.schedule.T + 1)))
        known = solver_statistics(self.run, sampler.solver, self.mean)
        return sampler.covariance, scheduler_config(self.mean, sampler, wanted.steps, wanted.recipe.start, known)

    def _check_head(self, name: str) -> None:
        """Refuse (InputError) a head for a network that stays here."""
        if FittedHead in load(name).needs and not self.heads:
            raise InputError(
                f"{name} needs its head at every step, which reads features of a network that is a program "
                "or a module of yours and stays here; export a table: corrected, analytic or spectral"
            )


def _pipeline(
    run: RunFolder, mean: MeanCheckpoint, covariance: Covariance, config: dict[str, Any], unet: Any
) -> Pipeline:
    """What the folder is made of; diffusers' own is enough for its own networks, a table and noise."""
    reading = mean.spec.reading
    has_head = FittedHead in covariance.needs
    told = {"features": mean.spec.features, "classes": reading.classes, "needs_labels": reading.needs_labels}
    head = exported_head(load_head(run.head(covariance.name), mean.trunk)) if has_head else None
    usual = not reading.classes and (reading.data.low, reading.data.high) == USUAL
    plain = isinstance(mean.model.network, DiffusersUNet) and not has_head and usual and config["start"] is None
    return Pipeline(config, unet, head, told, plain)
