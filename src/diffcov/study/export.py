"""A run's mean and one covariance out, as a pipeline that diffusers loads and samples with in few steps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffcov.covariance.base import Covariance
from diffcov.covariance.ingredients import FittedHead
from diffcov.covariance.registry import PREFERENCE
from diffcov.errors import InputError, UsageError
from diffcov.nets.adapters.diffusers_unet import DiffusersUNet
from diffcov.solver.base import Solver
from diffcov.solver.registry import make_solver
from diffcov.store.atomic import refuse_existing
from diffcov.store.checkpoint import MeanCheckpoint
from diffcov.store.head import load_head
from diffcov.store.pipeline_folder import Pipeline, check_replaceable, write_pipeline
from diffcov.store.run import RunFolder
from diffcov.study.choice import choose
from diffcov.study.exported_models import exported_head, exported_unet
from diffcov.study.exported_scheduler import mean_through, scheduler_config
from diffcov.study.known import known_covariance
from diffcov.study.listener import Listener, Silent
from diffcov.study.opening import open_mean
from diffcov.study.requests.draw import AUTO
from diffcov.study.requests.export import ExportRequest
from diffcov.study.requests.shared import Running

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
        UsageError: no folder, or a covariance that has no meaning for the solver.
        InputError: no mean, a solver of several looks, a covariance that lacks something or is neither a table nor made
            of a head, or a head for a network that cannot leave.
        OutputError: the folder exists, or the file system refuses.
    """
    say = listener or Silent()
    if request.out is None:
        raise UsageError("export to where? give a folder: diffcov export --out DIR")
    refuse_existing(request.out, request.force)
    check_replaceable(request.out)
    run = RunFolder(request.place.run)
    mean, solver = open_mean(request.place, Running(device="cpu")), make_solver(request.solver, request.eta)
    mean_through(solver)  # an error of the solver is said before covariances are tried
    unet = exported_unet(mean)
    covariance, config = _chosen(run, request, mean, solver, say, heads=unet is not None)
    pipeline = _pipeline(run, mean, covariance, config, unet)
    write_pipeline(request.out.absolute(), pipeline)
    if unet is None:
        say.note("the network is a program or a module of yours: the folder holds the scheduler and the tables alone")
    elif mean.model.autocast is not None:
        say.note(
            f"the network computes in {mean.model.precision} here, and in float32 where it is loaded from the folder"
        )
    return Exported(request.out, covariance.name, unet is not None)


def _pipeline(
    run: RunFolder, mean: MeanCheckpoint, covariance: Covariance, config: dict[str, Any], unet: Any
) -> Pipeline:
    """What the folder is made of; diffusers' own pipeline is enough for its own networks and a table."""
    reading = mean.spec.reading
    has_head = FittedHead in covariance.needs
    told = {"features": mean.spec.features, "classes": reading.classes, "needs_labels": reading.needs_labels}
    head = exported_head(load_head(run.head(covariance.name), mean.trunk)) if has_head else None
    usual = not reading.classes and (reading.data.low, reading.data.high) == USUAL
    plain = isinstance(mean.model.network, DiffusersUNet) and not has_head and usual
    return Pipeline(config, unet, head, told, plain)


def _chosen(
    run: RunFolder, request: ExportRequest, mean: MeanCheckpoint, solver: Solver, say: Listener, heads: bool
) -> tuple[Covariance, dict[str, Any]]:
    """The covariance and its configuration; "auto" takes the first in the order of preference that can be exported.

    Args:
        run, request, mean, solver, say: what is exported, and who is told.
        heads: whether the network leaves too: a head is nothing without its features.

    Raises:
        InputError, UsageError: as for :func:`export_model`.
    """
    times = range(1, mean.model.schedule.T + 1)
    if request.covariance != AUTO:
        covariance = known_covariance(run, choose(run, request.covariance, mean).name, mean, times).covariance
        covariance.check_solver(solver)
        if FittedHead in covariance.needs and not heads:
            raise InputError(
                f"{covariance.name} needs its head at every step, which reads features of a network that is a program "
                "or a module of yours and stays here; export a table: corrected, analytic or spectral"
            )
        return covariance, scheduler_config(mean, covariance, solver, request.clip_x0)
    held = run.available()
    for name in (name for name in PREFERENCE if held.get(name, "") is None):
        covariance = known_covariance(run, name, mean, times).covariance
        if FittedHead in covariance.needs and not heads:
            continue
        try:
            config = scheduler_config(mean, covariance, solver, request.clip_x0)
        except InputError:
            continue  # matrices: the next may be a table
        say.note(f"covariance: {name} (the first in the order of preference that can be exported)")
        if not covariance.needs:
            say.warn("the run holds no variance table; make one with diffcov estimate-var")
        return covariance, config
    raise InputError(f"{run.path} holds no covariance that can be exported; measure a table with diffcov estimate-var")
