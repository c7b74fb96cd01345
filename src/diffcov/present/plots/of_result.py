"""The panels of a comparison: bits/dim and Frechet distance over steps, calibration and exposure over t."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from diffcov.present.plots.panel import Line, Panel, floats, wide

__all__ = ["bits_panels", "calibration_panels", "exposure_panels", "frechet_panels"]

Result = Mapping[str, Any]


def bits_panels(result: Result) -> list[Panel]:
    """bits/dim over the number of steps, one panel for each solver that has a bound."""
    return _over_steps(result, "bits_per_dim", "bits/dim")


def frechet_panels(result: Result) -> list[Panel]:
    """The Frechet distance over the number of steps by solver, with that of as many real images as the floor."""
    settings, real = result["settings"], result["real"] or {}
    panels = _over_steps(result, "fid", f"fid@{settings['count']} {settings['features']}")
    if real.get("fid") is None or real.get("count") != settings["count"]:
        return panels  # a distance depends on the number of images: another number is no floor
    floored = [replace(panel, level=(float(real["fid"]), "real data")) for panel in panels]
    return [replace(panel, limits=None, log_y=wide(panel.values())).robust() for panel in floored]


def calibration_panels(result: Result) -> list[Panel]:
    """Squared error over predicted variance at each measured t."""
    found = result["calibration"]
    if found is None:
        return []
    times = floats(found["times"])
    lines = tuple(Line(name, times, floats(one["ratio"])) for name, one in found["covariances"].items())
    return [_ratio_panel("error / predicted variance", lines)]


def exposure_panels(result: Result, solver: str) -> list[Panel]:
    """E||eps_hat||^2 on the sampled path over the same on the forward path, one panel a number of steps."""
    panels = []
    for one in (found for found in result["exposure"] if found["solver"] == solver):
        times, forward = floats(one["times"]), floats(one["forward"])
        order = sorted(range(len(times)), key=times.__getitem__)
        lines = tuple(
            Line(name, tuple(times[i] for i in order), tuple(_ratio(sampled[i], forward[i]) for i in order))
            for name, sampled in ((name, floats(values)) for name, values in one["sampled"].items())
        )
        panels.append(_ratio_panel(f"{one['solver'].upper()}, {one['steps']} steps: sampled / forward", lines))
    return panels


def _ratio(value: float, by: float) -> float:
    return value / by if by != 0 else float("nan")


def _ratio_panel(title: str, lines: tuple[Line, ...]) -> Panel:
    return Panel(title, "t", "ratio", lines, level=(1.0, "1"), log_y=True, around=1.0).robust()


def _over_steps(result: Result, key: str, label: str) -> list[Panel]:
    panels = []
    for solver in result["solvers"]:
        cells = [cell for cell in result["cells"] if cell["solver"] == solver and cell[key] is not None]
        lines = tuple(line for name in result["covariances"] if (line := _line(name, cells, key)) is not None)
        if lines:
            ys = [y for line in lines for y in line.ys]
            ticks = floats(sorted(result["steps"]))
            title = f"{label}, {solver.upper()}"
            log_x, log_y = len(ticks) > 1, wide(ys)
            panels.append(Panel(title, "steps", label, lines, ticks=ticks, log_x=log_x, log_y=log_y).robust())
    return panels


def _line(name: str, cells: Sequence[Mapping[str, Any]], key: str) -> Line | None:
    own = sorted((cell for cell in cells if cell["covariance"] == name), key=lambda cell: int(cell["steps"]))
    if not own:
        return None
    stderr = floats(cell.get(f"{key}_stderr") for cell in own)
    has_stderr = any(error == error for error in stderr)
    return Line(name, floats(c["steps"] for c in own), floats(c[key] for c in own), stderr if has_stderr else ())
