"""What ``evaluate`` and ``compare`` show on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from diffcov.diffusion.grid import Trajectory

__all__ = ["calibration", "distances", "exposure", "grid", "likelihood", "lines"]

SHOWN = 12
"""Rows a table of times has, at most."""


def likelihood(found: Mapping[str, Mapping[str, Any]], trajectory: Trajectory, count: int) -> Table:
    """Every part of the bound, a row a covariance."""
    title = f"bits/dim of {count} images, {trajectory.name} {trajectory.K} steps, DDPM; lower is better"
    table = Table(title=title)
    for name in ("covariance", "bits/dim", "+-", "prior", "transitions", "decoder", "at floor"):
        table.add_column(name, justify="left" if name == "covariance" else "right")
    lowest = min(one["bits_per_dim"] for one in found.values())
    for name, one in found.items():
        total = f"{one['bits_per_dim']:.4f}"
        stderr = "-" if one["stderr"] is None else f"{one['stderr']:.4f}"
        parts = [f"{one[part]:.4f}" for part in ("prior", "transitions", "decoder")]
        best = one["bits_per_dim"] == lowest
        table.add_row(name, f"[bold green]{total}[/]" if best else total, stderr, *parts, f"{one['floor_share']:.0%}")
    return table


def scale_note(eps_scale: str) -> str:
    """What a title adds where eps_hat is scaled; nothing for 1."""
    return "" if eps_scale == "1" else f", eps-scale {eps_scale}"


def distances(found: Mapping[str, Any], process: str, trajectory: Trajectory, eps_scale: str) -> Table:
    """Every distance, a row a covariance."""
    reference = f"{found['reference']['count']} images of {found['reference']['source']}"
    steps = f"{trajectory.name} {trajectory.K} steps{scale_note(eps_scale)}"
    table = Table(title=f"samples by {process}, {steps}; reference: {reference}")
    table.add_column("covariance")
    names = ("fid", "kid", "precision", "recall")
    for name in names:
        table.add_column(name + found["label"], justify="right")
    for name, one in found["covariances"].items():
        table.add_row(name, *("-" if one[key] is None else f"{one[key]:.4g}" for key in names))
    return table


def calibration(name: str, found: Mapping[str, Any]) -> Table:
    """E[error^2 / var_x0] over times and bands; 1 is right."""
    one = found["covariances"][name]
    table = Table(title=f"{name}: squared error over predicted variance, by frequency band; 1 is right")
    for title in ("t", "all", *found["bands"], "at floor"):
        table.add_column(title, justify="right")
    for m in _spread(len(found["times"])):
        values = [one["ratio"][m], *one["by_band"][m]]
        cells = ["-" if value is None else f"{value:.2f}" for value in values]
        table.add_row(str(found["times"][m]), *cells, f"{one['floor_share'][m]:.0%}")
    return table


def exposure(found: Mapping[str, Any]) -> Table:
    """||eps_hat||^2 on the sampled path over that on the forward path; 1 is no bias."""
    table = Table(title="mean square of eps_hat: sampled path over forward path; 1 is no exposure bias")
    table.add_column("t", justify="right")
    for name in found["sampled"]:
        table.add_column(name, justify="right")
    for m in _spread(len(found["times"])):
        ratios = [norms[m] / found["forward"][m] for norms in found["sampled"].values()]
        table.add_row(str(found["times"][m]), *(f"{ratio:.4f}" for ratio in ratios))
    return table


def grid(title: str, cells: Sequence[Mapping[str, Any]], key: str, caption: str | None = None) -> Table:
    """One value of many cells: a row a covariance, a column a number of steps; the lowest of a column is marked."""
    steps = sorted({cell["steps"] for cell in cells})
    names = list(dict.fromkeys(cell["covariance"] for cell in cells))
    values = {(cell["covariance"], cell["steps"]): cell[key] for cell in cells}
    lowest = {K: min((v for (_, k), v in values.items() if k == K and v is not None), default=None) for K in steps}
    table = Table(title=title, caption=caption)
    table.add_column("covariance")
    for K in steps:
        table.add_column(f"{K} steps", justify="right")
    for name in names:
        row = []
        for K in steps:
            value = values.get((name, K))
            text = "-" if value is None else f"{value:.4g}"
            row.append(f"[bold green]{text}[/]" if value is not None and value == lowest[K] else text)
        table.add_row(name, *row)
    return table


def lines(result: dict[str, Any]) -> list[str]:
    """What a script would want: one value a line, tab-separated."""
    out = [f"{name}\tbits/dim\t{found['bits_per_dim']:.6f}" for name, found in result.get("nll", {}).items()]
    sets = result.get("distances", {"covariances": {}})
    for name, found in sets["covariances"].items():
        for metric in ("fid", "kid", "precision", "recall"):
            if found[metric] is not None:
                out.append(f"{name}\t{metric}{sets['label']}\t{found[metric]:.6g}")
    for name, found in result.get("calibration", {"covariances": {}})["covariances"].items():
        if found["rms_log"] is not None:
            out.append(f"{name}\trms log calibration\t{found['rms_log']:.6f}")
    exposure = result.get("exposure", {"sampled": {}})
    for name, norms in exposure["sampled"].items():
        for t, sampled, forward in zip(exposure["times"], norms, exposure["forward"], strict=True):
            out.append(f"{name}\teps_hat mean-square ratio at {t}\t{sampled / forward:.6f}")
    return out


def _spread(count: int) -> list[int]:
    """At most :data:`SHOWN` of 0..count-1, both ends included."""
    if count <= SHOWN:
        return list(range(count))
    return [round(k * (count - 1) / (SHOWN - 1)) for k in range(SHOWN)]
