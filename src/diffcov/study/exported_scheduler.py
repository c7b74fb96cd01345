"""The arguments of a scheduler that steps as a sampler of ours does: what it is made of, as plain numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from diffcov.basis.separable import Separable
from diffcov.covariance.base import Covariance
from diffcov.covariance.form import Form
from diffcov.denoiser.look import Look
from diffcov.denoiser.parametrisation import PREDICTIONS
from diffcov.diffusion.grid import EXPLICIT
from diffcov.engines.last_noise import last_noise_cap
from diffcov.engines.sampler import Sampler
from diffcov.errors import InputError
from diffcov.exported.packing import packed
from diffcov.gaussian.start import GaussianStart
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
    mean: MeanCheckpoint, sampler: Sampler, steps: int | None, until: int | None, known: Mapping[str, Statistic]
) -> dict[str, Any]:
    """The arguments of a DiffcovScheduler.

    Args:
        mean: the mean.
        sampler: how to step; its classes and its seed are not part of it.
        steps: K where nobody says another; None: there is no such K.
        until: the time over which a named grid is spread; None: T.
        known: the statistics that the solver needs, by their names.

    Raises:
        InputError: a covariance that is made in no way that the scheduler knows, or that reads the network's own
            variance, or a statistic that cannot be written out.
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
        "start": None if sampler.start is None else _packed_start(sampler.start),
        "spread_until": until,
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
    form = covariance.form
    if form is None:
        raise InputError(
            f"{covariance.name} says of itself that it is made in none of the ways that an exported scheduler knows "
            f"({'; '.join(one.value for one in Form)}); export another, such as corrected, spectral or npr"
        )
    config: dict[str, Any] = {}
    if form.in_cosines:
        config = {"in_cosines": True, Spectrum.name: _packed_statistic(covariance.ingredients[Spectrum], mean)}
    if form.has_head:
        return {**config, "head": True, "less_square": form.less_square}
    if form is not Form.BY_TIME:
        return config
    times = range(1, mean.model.schedule.T + 1)
    return {"var_x0": packed([0.0, *(float(covariance.at(_nothing(mean, t)).var) for t in times)])}


def _packed_start(start: GaussianStart) -> dict[str, Any]:
    """A start in the form that ``exported.tables.start_again`` reads."""
    assert isinstance(start.basis, Separable)
    arrays = {"mean": start.mean, "var": start.var, "colour": start.basis.colour}
    return {**{name: packed(array) for name, array in arrays.items()}, "made_of": dict(start.made_of)}


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


def _nothing(mean: MeanCheckpoint, t: int) -> Look:
    """A look at nothing, for covariances that ask for the time alone."""
    x = torch.zeros(1, *mean.model.data.shape)
    return Look(x_t=x, t=t, x0_hat=x, eps_hat=x, predicted=x, features=Features(x, torch.zeros(1, 1)))
