"""A comparison as ``compare.json`` holds it, with made-up but plausible numbers, to draw and to report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from diffcov.engines.distances.error import standard_error
from diffcov.study.ranking import rank

NAMES = ("small", "large", "analytic", "corrected", "npr", "sn")
BANDS = ("0", "1-2", "3-4", "5-7")
COUNT = 200
PENALTY = {"small": 9.0, "large": 4.0, "analytic": 1.2, "corrected": 1.0, "npr": 0.4, "sn": 6.0}


def comparison(
    names: Sequence[str] = NAMES,
    steps: Sequence[int] = (5, 10, 25, 50),
    solvers: Sequence[str] = ("ddpm", "ddim"),
    source: str = "digits",
    samplers: Sequence[str] = (),
    error: float = 0.05,
) -> dict[str, Any]:
    """Plain values only; every number of a cell differs from every other cell's. ``error`` is that of each distance."""
    cells = [
        _cell(i, name, solver, K)
        for i, name in enumerate(names)
        for solver in solvers
        for K in steps
        if (name, solver) != ("large", "ddim")
    ]
    for K in steps:
        _compare([cell for cell in cells if cell["steps"] == K and cell["bits_per_dim"] is not None])
    times = [1 + 111 * i for i in range(10)]
    result = {
        "kind": "compare",
        "diffcov_version": "0.1.0",
        "run": "runs/demo",
        "command": ["diffcov", "compare", "--run", "runs/demo", "--data", source, "--steps", ",".join(map(str, steps))],
        "device": "cpu",
        "seconds": 71.2,
        "mean": {"digest": "ab12cd34ef56" * 5, "parameters": 549873, "iterations": 1000},
        "data": {"source": source, "channels": 1, "height": 8, "width": 8, "levels": 17, "low": -1.0, "high": 1.0},
        "schedule": {"name": "linear", "T": 1000},
        "settings": {
            "seed": 0, "count": COUNT, "images": 256, "split": "test", "grid": "even", "features": "classifier",
            "features_digest": "0f1e2d3c" * 8, "dims": 64,
            "reference": {"count": 1500, "split": "train", "source": source}, "network_calls_a_look": 1,
            "view": {"clip_x0": True, "eps_scale": 1.0, "guidance": 1.0},
        },
        "covariances": {
            name: {
                "summary": f"what {name} is in one line",
                "formula": "r (1 - Gamma_t), Gamma_t = E||eps_hat||^2 / d",
                "reference": "arXiv 2201.06503, theorem 1",
                "made_of": {"variance.safetensors": "5e" * 32},
                "measured_at_this_guidance": True,
            }
            for name in names
        },
        "solvers": {name: _solver(name) for name in solvers},
        "steps": list(steps),
        "cells": cells,
        "samplers": {name: f"what {name} stands for" for name in samplers},
        "sampler_cells": [_sampler_cell(i, name, K) for i, name in enumerate(samplers) for K in steps],
        "real": {
            "fid": 3.0, "fid_stderr": 0.07, "kid": 0.0001, "precision": 0.91, "recall": 0.93, "count": COUNT,
            "split": "test",
        },
        "calibration": {
            "times": times,
            "bands": list(BANDS),
            "quantiles": 5,
            "covariances": {name: _calibration(i, len(times)) for i, name in enumerate(names)},
        },
        "exposure": [_exposure(names, solver, K) for solver in solvers for K in steps],
    }  # fmt: skip
    return ranked(result, error)


def ranked(result: dict[str, Any], error: float = 0.05) -> dict[str, Any]:
    """The result with standard errors and rankings of its distances as they are now, independent from cell to cell."""
    influences = {}
    for seed, cell in enumerate([*result["cells"], *result["sampler_cells"]]):
        noise = torch.randn(COUNT, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        spread = error * (1 + 0.01 * seed) * math.sqrt(COUNT)
        influence = (noise - noise.mean()) / noise.std() * spread
        place = (cell["sampler"],) if "sampler" in cell else (cell["covariance"], cell["solver"])
        influences[*place, cell["steps"]] = influence
        cell["fid_stderr"] = None if cell["fid"] is None else standard_error(influence)
    result["ranking"] = rank(result["cells"], influences, result["sampler_cells"], influences)
    return result


def _compare(cells: Sequence[dict[str, Any]]) -> None:
    """The paired differences of bounds to the lowest of them."""
    best = min(cells, key=lambda cell: cell["bits_per_dim"], default=None)
    for cell in cells:
        assert best is not None
        cell["difference_to"] = best["covariance"]
        if cell is best:
            cell["difference_stderr"] = None
        else:
            cell["difference"] = cell["bits_per_dim"] - best["bits_per_dim"]


def _solver(name: str) -> dict[str, Any]:
    why = None if name == "ddpm" else "its posterior has no variance"
    return {
        "summary": f"what {name} is",
        "reference": "the tests",
        "order": 1,
        "stochastic": why is None,
        "why_no_bound": why,
    }


def _cell(i: int, name: str, solver: str, K: int) -> dict[str, Any]:
    bound = solver == "ddpm"
    bits = 2.2 + PENALTY.get(name, 1 + 0.1 * i) * 10 / K + 0.001 * i
    return {
        "covariance": name,
        "solver": solver,
        "steps": K,
        "times": [round(1 + k * 999 / (K - 1)) for k in range(K)],
        "bits_per_dim": bits if bound else None,
        "bits_per_dim_stderr": 0.004 + 0.02 / K if bound else None,
        "difference_to": None,
        "difference": None,
        "difference_stderr": 0.001 + 0.01 / K + 0.0001 * i if bound else None,
        "prior": 0.0123 if bound else None,
        "transitions": bits - 0.9 if bound else None,
        "decoder": 0.8877 if bound else None,
        "floor_share": 0.02 * i if bound else None,
        "fid": 4 + (1.5 + i % 4) * 30 / K + (3 if bound else 0) + 0.07 * i,
        "kid": 0.002 + (1.5 + i % 4) * 0.03 / K + 0.0011 * i,
        "precision": 0.9 - 0.011 * i - 0.5 / K,
        "recall": 0.8 + 0.013 * i - 0.7 / K,
        "seconds": 0.061 * K + 0.1 * i,
        "eps_scale_value": 1.0,
    }


def _sampler_cell(i: int, name: str, K: int) -> dict[str, Any]:
    return {
        "sampler": name,
        "summary": f"{name}, whatever it is",
        "steps": K,
        "times": [round(1 + k * 999 / (K - 1)) for k in range(K)],
        "network_calls": K,
        "covariance": "small",
        "solver": "dpmpp",
        "fid": 2 + 11.3 / K + 0.37 * i,
        "kid": 0.001 + 0.01 / K + 0.0007 * i,
        "precision": 0.95 - 0.013 * i - 0.4 / K,
        "recall": 0.85 + 0.017 * i - 0.6 / K,
        "seconds": 0.05 * K + 0.2 * i,
    }


def _calibration(i: int, count: int) -> dict[str, Any]:
    ratio = [math.exp(0.7 * (i - 2) * math.sin(1 + k / count)) for k in range(count)]
    return {
        "ratio": ratio,
        "floor_share": [0.01 * i] * count,
        "by_band": [[r * (0.5 + 0.4 * b) for b in range(len(BANDS))] for r in ratio],
        "by_quantile": None if i < 4 else [[r * (0.8 + 0.1 * q) for q in range(5)] for r in ratio],
        "rms_log": abs(0.5 * (i - 2)),
    }


def _exposure(names: Sequence[str], solver: str, K: int) -> dict[str, Any]:
    times = [round(1 + k * 999 / (K - 1)) for k in range(K)]
    forward = [0.3 + 0.7 * t / 1000 for t in times]
    sampled = {
        name: [f * (1 + 0.02 * (i - 2) * (1 - t / 1000)) for f, t in zip(forward, times, strict=True)]
        for i, name in enumerate(names)
        if (name, solver) != ("large", "ddim")
    }
    return {"solver": solver, "steps": K, "times": times, "forward": forward, "sampled": sampled}


def sheets_of(result: dict[str, Any], images: Tensor, count: int = 16) -> dict[tuple[str, str, int], Tensor]:
    """(covariance, solver, steps) -> ``count`` of the images, noisier with fewer steps; uint8 (count, C, H, W)."""
    made = {}
    for cell in result["cells"]:
        generator = torch.Generator().manual_seed(cell["steps"])
        noise = torch.randn(images[:count].shape, generator=generator) * 16 / cell["steps"]
        noisy = (images[:count].float() + noise).round().clamp(0, int(images.max()))
        made[cell["covariance"], cell["solver"], cell["steps"]] = noisy.to(torch.uint8)
    return made


def sampler_sheets_of(result: dict[str, Any], images: Tensor, count: int = 16) -> dict[tuple[str, int], Tensor]:
    """(sampler, steps) -> ``count`` of the images, uint8 (count, C, H, W)."""
    return {(cell["sampler"], cell["steps"]): images[:count] for cell in result["sampler_cells"]}
