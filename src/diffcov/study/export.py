"""A run's mean and one covariance out, as a pipeline that diffusers loads and samples with in few steps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diffcov.basis import PIXEL
from diffcov.covariance.base import Covariance
from diffcov.covariance.ingredients import FittedHead
from diffcov.covariance.registry import PREFERENCE
from diffcov.denoiser.look import Look
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.last_noise import default_cap_levels, last_noise_cap
from diffcov.errors import InputError, UsageError
from diffcov.nets.adapters.diffusers_unet import PREDICTIONS, DiffusersUNet
from diffcov.nets.features import Features
from diffcov.solver.base import Solver
from diffcov.solver.registry import make_solver
from diffcov.statistics.spectrum import Spectrum, frequency_cells
from diffcov.store.atomic import refuse_existing
from diffcov.store.checkpoint import MeanCheckpoint
from diffcov.store.pipeline_folder import check_replaceable, write_pipeline
from diffcov.store.run import RunFolder
from diffcov.study.choice import choose
from diffcov.study.known import known_covariance
from diffcov.study.listener import Listener, Silent
from diffcov.study.opening import open_mean
from diffcov.study.requests.draw import AUTO
from diffcov.study.requests.export import ExportRequest
from diffcov.study.requests.shared import Running

__all__ = ["Exported", "export_model"]

THEIRS = {ours: theirs for theirs, ours in PREDICTIONS.items()}
"""diffusers' names of what a network predicts."""


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
        InputError: no mean, a covariance that lacks something, or one that is no table.
        OutputError: the folder exists, or the file system refuses.
    """
    say = listener or Silent()
    if request.out is None:
        raise UsageError("export to where? give a folder: diffcov export --out DIR")
    refuse_existing(request.out, request.force)
    check_replaceable(request.out)
    run = RunFolder(request.place.run)
    mean, solver = open_mean(request.place, Running()), make_solver(request.solver, request.eta)
    name, config = _chosen(run, request, mean, solver, say)
    network = mean.model.network
    unet = network.unet if isinstance(network, DiffusersUNet) else None
    write_pipeline(request.out.absolute(), config, unet)
    if unet is None:
        say.note("the network is not one of diffusers': the folder holds the scheduler and the tables alone")
    return Exported(request.out, name, unet is not None)


def _chosen(
    run: RunFolder, request: ExportRequest, mean: MeanCheckpoint, solver: Solver, say: Listener
) -> tuple[str, dict[str, Any]]:
    """The covariance and its configuration; "auto" takes the first in the order of preference that is a table.

    Raises:
        InputError, UsageError: as for :func:`export_model`.
    """
    times = range(1, mean.model.schedule.T + 1)
    if request.covariance != AUTO:
        covariance = known_covariance(run, choose(run, request.covariance, mean).name, mean, times).covariance
        covariance.check_solver(solver)
        return covariance.name, scheduler_config(mean, covariance, solver, request.clip_x0)
    held = run.available()
    for name in (name for name in PREFERENCE if held[name] is None):
        covariance = known_covariance(run, name, mean, times).covariance
        try:
            config = scheduler_config(mean, covariance, solver, request.clip_x0)
        except InputError:
            continue  # one with a head or matrices: the next may be a table
        say.note(f"covariance: {name} (the first in the order of preference that is a table)")
        if not covariance.needs:
            say.warn("the run holds no variance table; make one with diffcov estimate-var")
        return name, config
    raise InputError(f"{run.path} holds no covariance that can be exported; measure a table with diffcov estimate-var")


def scheduler_config(mean: MeanCheckpoint, covariance: Covariance, solver: Solver, clip_x0: bool) -> dict[str, Any]:
    """The arguments of a DiffcovScheduler that steps as a sampler of ours does.

    Raises:
        InputError: a covariance that needs a head or matrices.
    """
    from diffcov.exported.diffcov_scheduler import packed

    reading = mean.spec.reading
    schedule, data = reading.schedule, reading.data
    cap = last_noise_cap(default_cap_levels(schedule, solver), data.level_width)
    config: dict[str, Any] = {
        "num_train_timesteps": schedule.T,
        "log_alpha": packed(schedule.log_alpha),
        "prediction_type": THEIRS[reading.predicts],
        "covariance": covariance.name,
        "solver": solver.label,
        "mean_through": _mean_through(solver),
        "eta": solver.eta,
        "clip_sample": clip_x0,
        "low": float(data.low),
        "high": float(data.high),
        "last_noise": cap,
        "time_offset": float(reading.time.offset),
        "time_scale": float(reading.time.scale),
    }
    if FittedHead in covariance.needs:
        raise InputError(
            f"{covariance.name} needs its head at every step, and a scheduler sees the network's output alone; export "
            "a table: corrected, analytic or spectral"
        )
    if Spectrum in covariance.needs:
        return {**config, **_spectrum(covariance.ingredients[Spectrum], mean)}
    found = [covariance.at(_nothing(mean, t)) for t in range(1, schedule.T + 1)]
    if any(one.basis is not PIXEL or not one.is_scalar for one in found):
        raise InputError(
            f"{covariance.name} is no table of numbers by time; export one that is: corrected, analytic or spectral"
        )
    return {**config, "var_x0": packed([0.0, *(float(one.var) for one in found)])}


def _mean_through(solver: Solver) -> str:
    """Which of the two ways a scheduler knows to write the mean is the solver's: both are tried."""
    schedule = NoiseSchedule.linear(100)
    step, x = solver.step(schedule, 40, 50), torch.linspace(-1, 1, 8).reshape(2, 1, 2, 2)
    look = Look(x, 50, x / 3, x.flip(0), x.flip(0), Features(x, torch.zeros(2, 1)), consistent=False)
    mean = solver.walk([step]).mean(step, look)
    ways = {"x_t": step.mean_from_x_t(look.x0_hat, x), "eps_hat": step.mean_from_eps(look.x0_hat, look.eps_hat)}
    found = [name for name, way in ways.items() if torch.equal(way, mean)]
    if not found:
        raise InputError(f"{solver.label} is no solver of one look, and an exported scheduler knows no other yet")
    return found[0]


def _spectrum(spectrum: Spectrum, mean: MeanCheckpoint) -> dict[str, Any]:
    from diffcov.exported.diffcov_scheduler import packed

    schedule = mean.model.schedule
    times = torch.arange(1, schedule.T + 1)
    weights = spectrum.knot_weights(schedule, times)
    rows, columns = (frequency_cells(int(n)).tolist() for n in spectrum.size)
    return {
        "spectrum": packed(spectrum.mean().clamp(min=1e-30).log()),
        "weights": packed(torch.cat([torch.zeros_like(weights[:1]), weights])),
        "cells": [rows, columns],
        "colour": packed(spectrum.colour),
    }


def _nothing(mean: MeanCheckpoint, t: int) -> Look:
    """A look at nothing, for covariances that ask for the time alone."""
    x = torch.zeros(1, *mean.model.data.shape)
    return Look(x_t=x, t=t, x0_hat=x, eps_hat=x, predicted=x, features=Features(x, torch.zeros(1, 1)))
