"""The arguments of a scheduler that steps as a sampler of ours does: its solver and its covariance as plain numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from diffcov.basis import PIXEL
from diffcov.covariance.base import Covariance
from diffcov.covariance.head_based import HeadCovariance
from diffcov.denoiser.look import Look
from diffcov.diffusion.grid import Grid
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.last_noise import default_cap_levels, last_noise_cap
from diffcov.errors import InputError
from diffcov.nets.adapters.diffusers_unet import PREDICTIONS
from diffcov.nets.features import Features
from diffcov.solver.base import Solver
from diffcov.solver.through import THROUGH
from diffcov.statistics.spectrum import Spectrum, frequency_cells
from diffcov.store.checkpoint import MeanCheckpoint

__all__ = ["mean_through", "scheduler_config"]

THEIRS = {ours: theirs for theirs, ours in PREDICTIONS.items()}
"""diffusers' names of what a network predicts."""


def scheduler_config(mean: MeanCheckpoint, covariance: Covariance, solver: Solver, clip_x0: bool) -> dict[str, Any]:
    """The arguments of a DiffcovScheduler.

    Raises:
        InputError: a covariance that is neither a table nor made of a head in a way that the scheduler knows, or that
            reads the network's own variance.
    """
    from diffcov.exported.packing import packed

    if covariance.reads_range:
        raise InputError(
            f"{covariance.name} is half of the network's own output, which diffusers reads without diffcov: give its "
            "DDPMScheduler variance_type='learned_range'; export a table instead: corrected, analytic or spectral"
        )
    reading = mean.spec.reading
    schedule, data = reading.schedule, reading.data
    cap = last_noise_cap(default_cap_levels(schedule, solver), data.level_width)
    config: dict[str, Any] = {
        "num_train_timesteps": schedule.T,
        "log_alpha": packed(schedule.log_alpha),
        "prediction_type": THEIRS[reading.predicts],
        "covariance": covariance.name,
        "solver": solver.label,
        "mean_through": mean_through(solver),
        "eta": solver.eta,
        "clip_sample": clip_x0,
        "low": float(data.low),
        "high": float(data.high),
        "last_noise": cap,
        "time_offset": float(reading.time.offset),
        "time_scale": float(reading.time.scale),
    }
    spectrum = _spectrum(covariance.ingredients[Spectrum], mean) if Spectrum in covariance.needs else {}
    if isinstance(covariance, HeadCovariance):
        return {**config, **spectrum, "head": True, "less_square": _less_square(covariance, mean)}
    if spectrum:
        return {**config, **spectrum}
    found = [covariance.at(_nothing(mean, t)) for t in range(1, schedule.T + 1)]
    if any(one.basis is not PIXEL or not one.is_scalar for one in found):
        raise InputError(
            f"{covariance.name} is no table of numbers by time, and has no head; export one that is or has: corrected, "
            "analytic, spectral, npr"
        )
    return {**config, "var_x0": packed([0.0, *(float(one.var) for one in found)])}


def mean_through(solver: Solver) -> str:
    """Which of the two ways a scheduler knows to write the mean is the solver's: both are tried along a walk.

    Raises:
        InputError: a solver that remembers looks, knows statistics, or makes its noise by a rule of its own.
    """
    found: list[str] = []
    if isinstance(solver.eta, float | int) and not solver.needs:
        schedule, draw = NoiseSchedule.linear(100), torch.Generator().manual_seed(0)
        steps = solver.steps(schedule, Grid("even", 100, (20, 40, 60, 80)))
        walk, same = solver.walk(steps), dict.fromkeys(THROUGH, True)
        for step in steps:
            x, x0_hat, eps_hat = (torch.randn(2, 1, 2, 2, generator=draw) for _ in range(3))
            look = Look(x, step.t, x0_hat, eps_hat, eps_hat, Features(x, torch.zeros(2, 1)), consistent=False)
            mean = walk.mean(step, look)
            same = {name: same[name] and torch.equal(way(step, look), mean) for name, way in THROUGH.items()}
        found = [name for name, holds in same.items() if holds]
    if not found:
        raise InputError(
            f"{solver.label} is no solver of one look and one eta, and an exported scheduler knows no other yet; "
            "export with ddpm or ddim"
        )
    return found[0]


def _less_square(covariance: HeadCovariance, mean: MeanCheckpoint) -> float:
    """What the scheduler takes off of what the head says, in units of eps_hat^2: both ways are tried.

    Raises:
        InputError: the covariance is made of its head in neither way.
    """
    t, draw = 1 + mean.model.schedule.T // 2, torch.Generator().manual_seed(0)
    x, eps_hat = (torch.randn(2, *mean.model.data.shape, generator=draw) for _ in range(2))
    sizes = (2, mean.model.feature_channels, *x.shape[2:]), (2, mean.model.embedding_width)
    features = Features(*(torch.randn(size, generator=draw) for size in sizes))
    with torch.no_grad():
        # In double precision, as the ways are told apart by how they are computed and not by their rounding.
        look = Look(x.double(), t, x.double(), eps_hat.double(), eps_hat.double(), features)
        said, var_x0 = covariance.head_at(look), covariance.unbounded(look).var
    ways = {less: _made_of(covariance, said, less * look.predicted.square(), t) for less in (0.0, 1.0)}
    found = [less for less, way in ways.items() if torch.allclose(way.to(var_x0.dtype), var_x0, rtol=1e-4)]
    if not found:
        raise InputError(
            f"{covariance.name} is made of its head in a way that an exported scheduler does not know (r times what it "
            "says, less eps_hat^2 or not, or that times a spectrum); sample it with diffcov"
        )
    return found[0]


def _made_of(covariance: HeadCovariance, said: Tensor, less: Tensor, t: int) -> Tensor:
    ratio = float(covariance.schedule.ratio[t])
    if Spectrum not in covariance.needs:
        return ratio * (said - less)
    spectrum = covariance.ingredients[Spectrum]
    return ratio * spectrum.var_eps(covariance.schedule, torch.tensor([t]))[0] * (said - less)


def _spectrum(spectrum: Spectrum, mean: MeanCheckpoint) -> dict[str, Any]:
    from diffcov.exported.packing import packed

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
