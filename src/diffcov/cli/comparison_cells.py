"""The cells of a comparison: which there are, and what is known of each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from diffcov.cli.comparison_parts import Bench
from diffcov.covariance.base import Covariance
from diffcov.diffusion.grid import Trajectory
from diffcov.diffusion.process import Process
from diffcov.engines.meters.likelihood import Estimate
from diffcov.errors import UsageError
from diffcov.store.comparison import Part

__all__ = ["check_cells", "measure_cells"]

SAMPLED = ("fid", "kid", "precision", "recall", "seconds", "eps_scale_value")
"""What a cell takes from the values of its part; None where no samples were drawn."""


def measure_cells(
    bench: Bench, processes: list[Process], trajectories: list[Trajectory]
) -> tuple[list[dict[str, Any]], dict[tuple[str, str, int], Tensor], list[dict[str, Any]]]:
    """Every cell, the samples to show, and the norms along the sampled paths."""
    cells: list[dict[str, Any]] = []
    sheets: dict[tuple[str, str, int], Tensor] = {}
    exposure: list[dict[str, Any]] = []
    for trajectory in trajectories:
        bounds, forward = bench.likelihood(trajectory)
        for process in processes:
            sampled: dict[str, list[float]] = {}
            for name, loaded in bench.loaded.items():
                if not _means(loaded.covariance, process):
                    continue
                cell = {
                    "covariance": name, "process": process.name, "steps": trajectory.K, "times": list(trajectory.times),
                    **_bound(bounds, next(iter(bench.loaded)), name, process, bench.mean.spec.data.dims),
                    **dict.fromkeys(SAMPLED),
                }  # fmt: skip
                if bench.samples is not None:
                    part = bench.cell(bench.samples, name, process, trajectory)
                    cell |= {key: part.values[key] for key in SAMPLED}
                    sheets[name, process.name, trajectory.K] = part.tensors["pixels"]
                    sampled[name] = part.tensors["norms"].tolist()
                cells.append(cell)
            if sampled:
                exposure.append({
                    "process": process.name, "steps": trajectory.K, "times": list(trajectory.times),
                    "forward": forward.tolist(), "sampled": sampled,
                })  # fmt: skip
    return cells, sheets, exposure


def _means(covariance: Covariance, process: Process) -> bool:
    """Whether a covariance has a meaning, and so a cell, for a process."""
    try:
        covariance.check_process(process)
    except UsageError:
        return False
    return True


def check_cells(covariances: list[Covariance], processes: list[Process]) -> None:
    """Refuse, before any work, a comparison without a single cell."""
    if not any(_means(covariance, process) for covariance in covariances for process in processes):
        names = ", ".join(covariance.name for covariance in covariances)
        raise UsageError(f"nothing to compare: {names} means nothing for {processes[0].name}; use --process ddpm")


def _bound(bounds: Mapping[str, Part], first: str, name: str, process: Process, dims: int) -> dict[str, Any]:
    """The bound of a DDPM cell and its paired difference to the first covariance; nothing for other processes."""
    keys = ("prior", "transitions", "decoder", "floor_share")
    if process.eta != 1:
        empty = ("bits_per_dim", "bits_per_dim_stderr", "difference", "difference_stderr", *keys)
        return dict.fromkeys(empty)
    found = bounds[name].values
    nats, base = bounds[name].tensors["nats"], bounds[first].tensors["nats"]
    paired = Estimate.of((nats - base) / (dims * math.log(2)))
    return {
        "bits_per_dim": found["bits_per_dim"],
        "bits_per_dim_stderr": found["stderr"],
        "difference": None if name == first else paired.mean,
        "difference_stderr": None if name == first or math.isnan(paired.stderr) else paired.stderr,
        **{key: found[key] for key in keys},
    }
