"""Covariances x solvers x numbers of steps side by side: likelihood, distances, calibration, samples."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from diffcov.denoiser.base import View
from diffcov.denoiser.through import through
from diffcov.diffusion.grid import Grid
from diffcov.diffusion.grids import GRIDS, even, make_grid
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.meters.calibration import QUANTILES
from diffcov.errors import UsageError
from diffcov.nets.variance_head import parameter_count
from diffcov.solver.base import Solver
from diffcov.solver.registry import make_solver
from diffcov.store.checkpoint import MeanCheckpoint
from diffcov.store.comparison import ComparisonFolder
from diffcov.store.run import RunFolder
from diffcov.study.asked import typed
from diffcov.study.bench import Bench
from diffcov.study.choice import view_record
from diffcov.study.compared_cells import Place, compared_cells, planned_calls
from diffcov.study.compared_samplers import Beside, check_names, compared_samplers, samplers_beside
from diffcov.study.grids import grid_name, warn_of_beginning
from diffcov.study.judging import classes_like_data, open_against
from diffcov.study.known import known_covariances, warn_of_view, with_statistics
from diffcov.study.listener import Listener, Silent
from diffcov.study.opening import held_out_examples, open_mean
from diffcov.study.owning import owning
from diffcov.study.quickest import Work, choose_way
from diffcov.study.range_check import keep_range_check, lacks_range_check
from diffcov.study.ranking import rank
from diffcov.study.real import real_distances, real_pixels
from diffcov.study.requests.judge import CompareRequest
from diffcov.study.scale import Scaling
from diffcov.study.whole import whole_task
from diffcov.version import __version__

__all__ = ["Comparison", "compare"]

CALIBRATION_TIMES = 20
SHOWN = 36
"""Samples a cell of the sheets, at most."""


@dataclass(frozen=True)
class Comparison:
    """What was measured.

    Attributes:
        document: all of it as plain values: what ``compare.json`` holds.
        sheets: (shown, C, H, W) uint8 samples by covariance, solver and number of steps.
        levels: number of grey levels.
        folder: where the parts are kept, and where results belong.
        sampler_sheets: as ``sheets``, by recipe and number of steps.
        real: (at most shown, C, H, W) uint8, held-out images to look at beside them; None where no samples were drawn.
    """

    document: dict[str, Any]
    sheets: dict[Place, Tensor]
    levels: int
    folder: ComparisonFolder
    sampler_sheets: dict[tuple[str, int], Tensor] = field(default_factory=dict)
    real: Tensor | None = None


@owning("compare", lambda request: ["comparison"] if request.out is None else [])
def compare(request: CompareRequest, listener: Listener | None = None) -> Comparison:
    """Measure what is missing.

    Every part is kept as soon as it is measured: asked again, a comparison goes on where it stopped.

    Raises:
        UsageError: options that contradict each other, or nothing to compare.
        InputError: no mean, or something that is needed is missing, damaged or of another mean.
        OutputError: the folder holds something else, or a part of another identity.
        NonFiniteError: NaN or infinity anywhere.
    """
    say, started = listener or Silent(), time.monotonic()
    run, view = RunFolder(request.place.run), request.view
    folder = ComparisonFolder(request.out or run.comparison, request.force)
    folder.check_ours()
    mean = open_mean(request.place, request.running, say, request.batch_size)
    solvers = [with_statistics(run, make_solver(name), mean) for name in dict.fromkeys(request.solvers)]
    T = mean.model.schedule.T
    grids, calibrated = _grids(request, mean.model.schedule), even(T, min(CALIBRATION_TIMES, T))
    times = sorted({t for grid in (*grids, calibrated) for t in grid.times})
    known = known_covariances(run, request.covariances, mean, times, say)
    covariances = {name: one.covariance for name, one in known.items()}
    if not any(covariance.suits(solver) for covariance in covariances.values() for solver in solvers):
        raise UsageError(
            f"nothing to compare: {', '.join(covariances)} means nothing for {solvers[0].name}; use --solver ddpm"
        )
    warn_of_view(known.values(), view.clip_x0, view.guidance, say)
    warn_of_beginning(grids, mean.model.schedule, say)
    scaling = Scaling(view.eps_scale, run, mean, request.batch_size, say)
    seen = View(view.clip_x0, scaling.number, view.guidance)
    through(mean.model, seen)  # a view that the mean does not allow is refused before any work
    check_names(request.samplers, run, mean)
    told = request.data, request.pictures
    held = held_out_examples(run, mean, say, request.data, request.images, request.split, request.pictures)
    shared = folder, mean, covariances, request.seed, request.batch_size, seen, scaling, say, held
    for grid in grids:
        Bench(*shared).bounds(grid)  # parts of other settings are refused before features are taken
    bench = Bench(
        *shared,
        open_against(request.features, run, mean, request.count, say, *told) if request.count else None,
        request.count, SHOWN, classes_like_data(run, mean, say, *told) if request.count else None,
    )  # fmt: skip
    if lacks_range_check(run, mean):
        keep_range_check(run, mean.model, held.examples, held.provenance, say, request.seed)
    drawn = len(covariances) * len(solvers) * request.count
    looks = sum(grid.K for grid in grids) * (drawn + len(held.examples))
    calls = -(-looks // request.batch_size) * bench.denoiser.calls
    choose_way(mean.model, Work(request.batch_size, calls), request.running.compile, say)
    beside = Beside()
    if bench.count:
        beside = samplers_beside(request.samplers, run, mean, bench, [grid.K for grid in grids], say)
    calibration = bench.calibration(calibrated.times)
    planned = planned_calls(bench, solvers, grids) + beside.planned(bench) + bench.calls([calibration])
    with whole_task(say, "compare", planned) as whole:
        bench = replace(bench, listener=whole, scaling=replace(scaling, listener=whole))
        measured, others = compared_cells(bench, solvers, grids), compared_samplers(beside, bench, say)
        bench.fulfil([calibration])
    folder.drop_unfinished()
    document = {
        **_setting(request, bench, mean),
        "covariances": {
            name: {
                **{key: getattr(one.covariance, key) for key in ("summary", "formula", "reference")},
                "made_of": one.covariance.made_of,
                "measured_at_this_guidance": one.measured_at(view.guidance),
            }
            for name, one in known.items()
        },
        "solvers": {solver.label: _solver_record(solver) for solver in solvers},
        "steps": [grid.K for grid in grids],
        "cells": measured.cells,
        "samplers": others.summaries,
        "sampler_cells": others.cells,
        "ranking": rank(measured.cells, measured.influences, others.cells, others.influences),
        "real": real_distances(bench),
        "calibration": {
            "times": list(calibrated.times),
            "bands": bench.bands,
            "quantiles": QUANTILES,
            "covariances": {name: calibration.found[name].values for name in covariances},
        },
        "exposure": measured.exposure,
        "seconds": time.monotonic() - started,
    }
    real = real_pixels(bench, SHOWN) if bench.count else None
    return Comparison(document, measured.sheets, mean.model.data.levels, folder, others.sheets, real)


def _solver_record(solver: Solver) -> dict[str, Any]:
    return {key: getattr(solver, key) for key in ("summary", "reference", "order", "stochastic", "why_no_bound")}


def _grids(request: CompareRequest, schedule: NoiseSchedule) -> list[Grid]:
    """One grid for each number of steps, fewest steps first."""
    name = grid_name(request.grid)
    if name not in GRIDS:
        raise UsageError(f"--grid takes {', '.join(GRIDS)} here; found {request.grid!r}")
    return [make_grid(name, schedule, K) for K in sorted(set(request.steps))]


def _setting(request: CompareRequest, bench: Bench, mean: MeanCheckpoint) -> dict[str, Any]:
    """What was compared, on what and how."""
    against, own = bench.against, mean.data
    assert bench.held_out is not None
    provenance = bench.held_out.provenance
    return {
        "kind": "compare",
        "diffcov_version": __version__,
        "run": str(request.place.run),
        "command": typed("compare", request),
        "device": str(mean.model.device),
        "call": mean.model.caller.way.as_dict(),
        "mean": {
            "digest": mean.digest,
            "parameters": parameter_count(mean.model),
            "iterations": mean.training.get("iterations"),
        },
        "data": {"source": (own or provenance)["source"], **mean.model.data.as_dict()},
        "schedule": mean.model.schedule.summary(),
        "settings": {
            "seed": request.seed, "count": request.count, "images": len(bench.held_out.examples),
            "split": provenance["split"], "grid": grid_name(request.grid), "view": view_record(request.view),
            "network_calls_a_look": bench.denoiser.calls,
            "features": against.space.name if against else None,
            "features_digest": against.space.digest if against else None,
            "dims": against.space.dims if against else None,
            "reference": against.record if against else None,
        },
    }  # fmt: skip
