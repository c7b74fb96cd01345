"""The arguments of a scheduler that steps as a sampler of ours does: what it is made of, as plain numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from diffcov.basis import PIXEL
from diffcov.covariance.base import Covariance
from diffcov.covariance.head_based import HeadCovariance
from diffcov.denoiser.look import Look
from diffcov.denoiser.parametrisation import PREDICTIONS
from diffcov.diffusion.grid import EXPLICIT
from diffcov.engines.last_noise import last_noise_cap
from diffcov.engines.sampler import Sampler
from diffcov.errors import InputError
from diffcov.exported.packing import packed
from diffcov.nets.features import Features
from diffcov.statistics.at_knots import AtKnots
from diffcov.statistics.base import Statistic
from diffcov.statistics.matrices import UNASKED, ResidualMatrices
from diffcov.statistics.spectrum import Spectrum, frequency_cells
from diffcov.statistics.table import VarianceTable
from diffcov.store.checkpoint import MeanCheckpoint

__all__ = ["scheduler_config"]

THEIRS = {ours: theirs for theirs, ours in PREDICTIONS.items()}
"""diffusers' names of what a network predicts."""


def scheduler_config(
    mean: MeanCheckpoint, sampler: Sampler, steps: int | None, known: Mapping[str, Statistic]
) -> dict[str, Any]:
    """The arguments of a DiffcovScheduler.

    Args:
        mean: the mean.
        sampler: how to step; its classes and its seed are not part of it.
        steps: K where nobody says another; None: there is no such K.
        known: the statistics that the solver needs, by their names.

    Raises:
        InputError: a covariance that is neither a table nor made of a head in a way that the scheduler knows, or that
            reads the network's own variance.
    """
    reading, grid, view = mean.spec.reading, sampler.grid, sampler.denoiser.view
    cap = sampler.cap_levels
    config: dict[str, Any] = {
        "num_train_timesteps": reading.schedule.T,
        "log_alpha": packed(reading.schedule.log_alpha),
        "prediction_type": THEIRS[reading.predicts],
        "solver": sampler.solver.as_dict(),
        "grid": list(grid.times) if grid.name == EXPLICIT else grid.name,
        "num_inference_steps": steps,
        "covariance": sampler.covariance.name,
        "share": float(sampler.share),
        "eps_scale": float(view.eps_scale),
        "clip_sample": view.clip_x0,
        "low": float(reading.data.low),
        "high": float(reading.data.high),
        "last_noise": None if cap is None else last_noise_cap(cap, reading.data.level_width),
        "time_offset": float(reading.time.offset),
        "time_scale": float(reading.time.scale),
    }
    tables: dict[str, Any] = {name: _packed_statistic(statistic, mean) for name, statistic in known.items()}
    return {**config, **tables, **_of_covariance(mean, sampler.covariance)}


def _of_covariance(mean: MeanCheckpoint, covariance: Covariance) -> dict[str, Any]:
    """What a scheduler has to know of a covariance.

    Raises:
        InputError: as for :func:`scheduler_config`.
    """
    if covariance.reads_range:
        raise InputError(
            f"{covariance.name} is half of the network's own output, which diffusers reads without diffcov: give its "
            "DDPMScheduler variance_type='learned_range'; export a table instead: corrected, analytic or spectral"
        )
    in_cosines = Spectrum in covariance.needs
    config: dict[str, Any] = {}
    if in_cosines:
        config = {"in_cosines": True, Spectrum.name: _packed_statistic(covariance.ingredients[Spectrum], mean)}
    if isinstance(covariance, HeadCovariance):
        return {**config, "head": True, "less_square": _less_square(covariance, mean)}
    if in_cosines and _is_the_spectrum(covariance, mean):
        return config
    numbers = [0.0]
    for t in range(1, mean.model.schedule.T + 1):
        found = covariance.at(_nothing(mean, t))
        if found.basis is not PIXEL or not found.is_scalar:
            raise InputError(
                f"{covariance.name} is no table of numbers by time, and has no head; export one that is or has: "
                "corrected, analytic, spectral, npr"
            )
        numbers.append(float(found.var))
    return {"var_x0": packed(numbers)}


def _is_the_spectrum(covariance: Covariance, mean: MeanCheckpoint) -> bool:
    """Whether r times the spectrum is all that the covariance says, tried in the middle of the times."""
    schedule, spectrum = mean.model.schedule, covariance.ingredients[Spectrum]
    t = 1 + schedule.T // 2
    found, var = covariance.unbounded(_nothing(mean, t)), spectrum.var_eps(schedule, torch.tensor([t]))[0]
    same = found.var.shape[-3:] == var.shape and torch.allclose(found.var, float(schedule.ratio[t]) * var, rtol=1e-9)
    return found.basis == spectrum.basis and same


def _packed_statistic(statistic: Statistic, mean: MeanCheckpoint) -> dict[str, Any]:
    """A statistic in the form that ``exported.tables`` reads.

    Raises:
        InputError: a table that does not know the error at every time, or matrices that are too large for it.
    """
    schedule = mean.model.schedule
    found: dict[str, Any] = {"file": statistic.file, "digest": statistic.digest}
    if isinstance(statistic, AtKnots):
        weights = statistic.knot_weights(schedule, torch.arange(1, schedule.T + 1))
        found["weights"] = packed(torch.cat([torch.zeros_like(weights[:1]), weights]))
        found["colour"] = packed(statistic.colour)
    if isinstance(statistic, Spectrum):
        rows, columns = (frequency_cells(int(n)).tolist() for n in statistic.size)
        return {**found, "logs": packed(statistic.mean().clamp(min=1e-30).log()), "rows": rows, "columns": columns}
    if isinstance(statistic, ResidualMatrices):
        return {**found, "triangles": packed(_triangles(statistic)), "shape": list(statistic.shape)}
    assert isinstance(statistic, VarianceTable)
    return {**found, "errors": packed([0.0, *(statistic.error_at(t) for t in range(1, schedule.T + 1))])}


def _triangles(matrices: ResidualMatrices) -> Tensor:
    """(M, d (d + 1) / 2) float64, the shrunk matrices' lower triangles, row after row.

    Raises:
        InputError: images that are too large for it.
    """
    d = matrices.dims
    if d > UNASKED:
        raise InputError(
            f"matrices leave as text in a scheduler's configuration, which is for images of at most {UNASKED} values, "
            f"and these have {d}; export with the solver spectral-ei, or sample with diffcov"
        )
    rows, columns = torch.tril_indices(d, d)
    return torch.stack([matrices.at_knot(knot)[rows, columns] for knot in range(len(matrices.knots))])


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


def _nothing(mean: MeanCheckpoint, t: int) -> Look:
    """A look at nothing, for covariances that ask for the time alone."""
    x = torch.zeros(1, *mean.model.data.shape)
    return Look(x_t=x, t=t, x0_hat=x, eps_hat=x, predicted=x, features=Features(x, torch.zeros(1, 1)))
