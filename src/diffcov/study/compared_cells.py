"""The cells of a comparison: every covariance with every solver and number of steps that it has a meaning for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from diffcov.diffusion.grid import Grid
from diffcov.engines.sampler import Sampler
from diffcov.solver.base import Solver
from diffcov.store.parts import Part
from diffcov.study.bench import Bench
from diffcov.study.paired import PAIRED, paired

__all__ = ["ComparedCells", "Place", "compared_cells", "planned_calls"]

BOUND = ("prior", "transitions", "decoder", "floor_share")
SAMPLED = ("fid", "fid_stderr", "kid", "precision", "recall", "seconds", "eps_scale_value")
"""What a cell takes from the values of its parts; None where they were not measured."""

Place = tuple[str, str, int]
"""Covariance, solver and number of steps."""


@dataclass(frozen=True)
class ComparedCells:
    """What was measured.

    Attributes:
        cells: one a covariance, solver and number of steps, as plain values.
        sheets: samples to show, by place.
        influences: of each sample on the Frechet distance of its cell, by place.
        exposure: norms along the sampled paths, one record a solver and number of steps.
    """

    cells: list[dict[str, Any]] = field(default_factory=list)
    sheets: dict[Place, Tensor] = field(default_factory=dict)
    influences: dict[Place, Tensor] = field(default_factory=dict)
    exposure: list[dict[str, Any]] = field(default_factory=list)


def planned_calls(bench: Bench, solvers: Sequence[Solver], grids: Sequence[Grid]) -> int:
    """Calls of the network, an image each, that :func:`compared_cells` will take for what is not kept yet."""
    bounded = any(solver.why_no_bound is None for solver in solvers)
    forward = 0
    for grid in grids:
        wishes = ([bench.bounds(grid)] if bounded else []) + ([bench.norms(grid)] if bench.count else [])
        forward += bench.calls(wishes)
    return forward + sum(map(bench.calls_of, _samplers(bench, solvers, grids)))


def _samplers(bench: Bench, solvers: Sequence[Solver], grids: Sequence[Grid]) -> Iterator[Sampler]:
    """The sampler of every cell that is drawn with one."""
    for grid in grids if bench.count else ():
        for solver in solvers:
            for name, covariance in bench.covariances.items():
                if covariance.suits(solver):
                    yield bench.sampler(name, solver, grid)


def compared_cells(bench: Bench, solvers: Sequence[Solver], grids: Sequence[Grid]) -> ComparedCells:
    """Every cell. Bounds are measured only if a solver has one, and norms only if there are samples to compare with."""
    out = ComparedCells()
    bounded = any(solver.why_no_bound is None for solver in solvers)
    for grid in grids:
        bounds = bench.bounds(grid) if bounded else None
        norms = bench.norms(grid) if bench.count else None
        bench.fulfil([wish for wish in (bounds, norms) if wish is not None])
        for solver in solvers:
            sampled: dict[str, list[float]] = {}
            for name, covariance in bench.covariances.items():
                if not covariance.suits(solver):
                    continue
                found = None if bounds is None or solver.why_no_bound else bounds.found
                cell = {
                    "covariance": name, "solver": solver.label, "steps": grid.K, "times": list(grid.times),
                    **_bound(found, name, bench), **dict.fromkeys(SAMPLED),
                }  # fmt: skip
                if bench.count:
                    part = bench.samples(name, solver, grid)
                    cell |= {key: part.values[key] for key in SAMPLED}
                    out.sheets[name, solver.label, grid.K] = part.tensors["pixels"]
                    out.influences[name, solver.label, grid.K] = part.tensors["influence"]
                    sampled[name] = part.tensors["norms"].tolist()
                out.cells.append(cell)
            if sampled and norms is not None:
                out.exposure.append({
                    "solver": solver.label, "steps": grid.K, "times": list(grid.times),
                    "forward": norms.found["forward"].tensors["forward"].tolist(), "sampled": sampled,
                })  # fmt: skip
    return out


def _bound(bounds: Mapping[str, Part] | None, name: str, bench: Bench) -> dict[str, Any]:
    """The bound of a cell and its paired difference to the lowest; nothing where the solver has none."""
    if bounds is None:
        return dict.fromkeys(("bits_per_dim", "bits_per_dim_stderr", *PAIRED, *BOUND))
    found = bounds[name].values
    return {
        "bits_per_dim": found["bits_per_dim"],
        "bits_per_dim_stderr": found["stderr"],
        **paired(bounds, name, bench.mean.model.data.dims),
        **{key: found[key] for key in BOUND},
    }
