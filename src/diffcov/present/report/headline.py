"""What won, in words, from the numbers alone."""

from __future__ import annotations

import math

from diffcov.present.digits import significant
from diffcov.present.report.grid import Cell, Result, lowest, measured

__all__ = ["findings", "headline", "shown_steps"]

FEW_STEPS = 10
"""The number of steps to speak of: few enough that the covariance matters, enough for an image."""


def shown_steps(result: Result) -> int:
    """The number of steps to speak of among those that were compared."""
    return int(min(result["steps"], key=lambda k: abs(math.log(k / FEW_STEPS))))


def headline(result: Result) -> str:
    """The best sampler at the number of steps nearest to ten; else the best covariance of the first solver."""
    best = _best_samplers(result)
    if best and result["sampler_cells"]:
        K = min(best, key=lambda k: abs(math.log(k / FEW_STEPS)))
        settings = result["settings"]
        over = f"over {settings['features']} features of {settings['count']} samples"
        name, fid = best[K]
        return f"At {K} steps {name} has the lowest Frechet distance of all samplers ({significant(fid)} {over})."
    return _of_covariances(result)


def _best_samplers(result: Result) -> dict[int, tuple[str, float]]:
    """The sampler with the lowest Frechet distance at each number of steps, covariances of any solver included."""
    found: dict[int, tuple[str, float]] = {}
    named = [(one["sampler"], one) for one in result["sampler_cells"]]
    named += [(f"{one['solver']} with {one['covariance']}", one) for one in result["cells"]]
    for name, cell in named:
        fid, K = cell["fid"], cell["steps"]
        if fid is not None and (K not in found or fid < found[K][1]):
            found[K] = name, float(fid)
    return dict(sorted(found.items()))


def _of_covariances(result: Result) -> str:
    """One sentence about the number of steps nearest to ten and the first solver that was measured."""
    for solver in result["solvers"]:
        steps = _steps(result, solver)
        if steps is not None:
            return _sentence(result, solver, steps)
    return "Nothing could be measured."


def findings(result: Result) -> list[str]:
    """The other solvers at the same number of steps, then who wins at the other numbers of steps."""
    said = [solver for solver in result["solvers"] if _steps(result, solver) is not None]
    best = _best_samplers(result)
    each = "; ".join(f"{name} at {K} ({significant(fid)})" for K, (name, fid) in best.items())
    more = (
        [f"Lowest Frechet distance of all samplers: {each}.", _of_covariances(result)]
        if result["sampler_cells"]
        else []
    )
    more += [_sentence(result, solver, steps) for solver in said[1:] if (steps := _steps(result, solver))]
    for solver in said:
        for key, label in (("bits_per_dim", "bits/dim"), ("fid", "Frechet distance")):
            more += _over_steps(result, solver, key, label)
    return more


def _steps(result: Result, solver: str) -> int | None:
    counts = {cell["steps"] for key in ("bits_per_dim", "fid") for cell in measured(result, solver, key)}
    return min(counts, key=lambda k: abs(math.log(k / FEW_STEPS)), default=None)


def _sentence(result: Result, solver: str, steps: int) -> str:
    bits, fid = lowest(result, solver, steps, "bits_per_dim"), lowest(result, solver, steps, "fid")
    settings = result["settings"]
    parts: list[tuple[list[Cell], str, str]] = []
    if bits:
        parts.append((bits, "the lowest bits/dim", f"({significant(bits[0]['bits_per_dim'])})"))
    if fid:
        over = f"over {settings['features']} features of {settings['count']} samples"
        parts.append((fid, "the lowest Frechet distance", f"({significant(fid[0]['fid'])} {over})"))
    said: list[str] = []
    before: list[str] | None = None
    for cells, what, value in parts:
        names = [str(cell["covariance"]) for cell in cells]
        who = f"{' and '.join(names)} " if names != before else ""
        verb = ("has " if len(names) == 1 else "have ") if before is None else ""
        said.append(f"{who}{verb}{what} {value}")
        before = names
    return f"At {steps} steps {' and '.join(said)}, {solver.upper()}."


def _over_steps(result: Result, solver: str, key: str, label: str) -> list[str]:
    winners: dict[str, list[int]] = {}
    for steps in result["steps"]:
        for cell in lowest(result, solver, steps, key):
            winners.setdefault(str(cell["covariance"]), []).append(steps)
    if not winners or len(result["steps"]) == 1:
        return []
    if len(winners) == 1:
        return [f"Lowest {label}, {solver.upper()}: {next(iter(winners))} at every number of steps."]
    each = "; ".join(f"{name} at {', '.join(map(str, steps))}" for name, steps in winners.items())
    return [f"Lowest {label}, {solver.upper()}: {each} steps."]
