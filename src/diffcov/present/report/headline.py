"""What won, in words, from the numbers alone: nobody wins within the error."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from diffcov.present.digits import with_stderr
from diffcov.present.report.grid import Cell, Result, level, measured, ranking

__all__ = ["findings", "headline", "shown_steps"]

FEW_STEPS = 10
"""The number of steps to speak of: few enough that the covariance matters, enough for an image."""
NAMED = 4
"""Names in one sentence, at most."""


def shown_steps(result: Result) -> int:
    """The number of steps to speak of among those that were compared."""
    return _nearest(result["steps"])


def headline(result: Result) -> str:
    """The winner at the number of steps nearest to ten: of all distances, or of all bounds where none was taken.

    A winner is named if the next one lies above it by more than two standard errors of their paired difference; else
    those that cannot be told from the lowest.
    """
    counts = [one["steps"] for one in result["ranking"] if one["of"] == "all"]
    if counts:
        return _of_distances(result, _nearest(counts))
    for solver in result["solvers"]:
        found = [cell["steps"] for cell in measured(result, solver, "bits_per_dim")]
        if found:
            return f"At {_nearest(found)} steps {_claim_of_bits(result, solver, _nearest(found))}."
    return "Nothing could be measured."


def findings(result: Result) -> list[str]:
    """The best of each solver at the same number of steps, then who wins at the others."""
    all_steps = [K for K in result["steps"] if ranking(result, K, "all")]
    found = []
    if len(all_steps) > 1:
        each = "; ".join(f"{K} steps: {_listed(_of_all(result, K)['level'])}" for K in all_steps)
        found.append(f"Lowest Frechet distance of all, or level with it: {each}.")
    for solver in result["solvers"]:
        counts = [cell["steps"] for key in ("bits_per_dim", "fid") for cell in measured(result, solver, key)]
        if not counts:
            continue
        K = _nearest(counts)
        claims = [_claim_of_bits(result, solver, K)] if level(result, solver, K, "bits_per_dim") else []
        claims += [_claim_of_fid(result, solver, K)] if level(result, solver, K, "fid") else []
        found.append(f"{solver.upper()} at {K} steps: {'; '.join(claims)}.")
        for key, label in (("bits_per_dim", "bits/dim"), ("fid", "Frechet distance")):
            found += _over_steps(result, solver, key, label)
    return found


def _nearest(counts: Iterable[int]) -> int:
    return int(min(counts, key=lambda K: abs(math.log(K / FEW_STEPS))))


def _of_all(result: Result, K: int) -> Mapping[str, Any]:
    found = ranking(result, K, "all")
    assert found is not None
    return found


def _of_distances(result: Result, K: int) -> str:
    record, settings = _of_all(result, K), result["settings"]
    over = f"over {settings['features']} features of {settings['count']} samples"
    value = f"{with_stderr(record['fid'], record['fid_stderr'])} {over}"
    names, above = record["level"], record["above"]
    if len(names) > 1:
        return f"At {K} steps no difference in Frechet distance beyond the error between {_listed(names)} ({value})."
    if not above:
        return f"At {K} steps {names[0]} has a Frechet distance of {value}; nothing else was measured there."
    runner = min(above, key=lambda name: above[name]["difference"])
    further = with_stderr(above[runner]["difference"], above[runner]["stderr"])
    return f"At {K} steps {names[0]} has the lowest Frechet distance ({value}); {runner} is next, {further} above."


def _claim_of_bits(result: Result, solver: str, K: int) -> str:
    found = level(result, solver, K, "bits_per_dim")
    return _claim(found, "bits/dim", with_stderr(found[0]["bits_per_dim"], found[0]["bits_per_dim_stderr"]))


def _claim_of_fid(result: Result, solver: str, K: int) -> str:
    found = level(result, solver, K, "fid")
    return _claim(found, "Frechet distance", with_stderr(found[0]["fid"], found[0]["fid_stderr"]))


def _claim(cells: Sequence[Cell], what: str, value: str) -> str:
    names = [str(cell["covariance"]) for cell in cells]
    if len(names) == 1:
        return f"{names[0]} has the lowest {what} ({value})"
    return f"no difference in {what} beyond the error between {_listed(names)} ({value})"


def _listed(names: Sequence[str]) -> str:
    """Names in a sentence, lowest first; the rest is counted."""
    if len(names) > NAMED:
        return f"{', '.join(names[: NAMED - 1])} and {len(names) - NAMED + 1} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _over_steps(result: Result, solver: str, key: str, label: str) -> list[str]:
    """Who has the lowest value, or is level with it, at each number of steps."""
    groups: dict[str, list[int]] = {}
    for K in result["steps"]:
        names = [str(cell["covariance"]) for cell in level(result, solver, K, key)]
        if names:
            groups.setdefault(_listed(names), []).append(K)
    if not groups or len(result["steps"]) == 1:
        return []
    if len(groups) == 1:
        return [f"Lowest {label} or level with it, {solver.upper()}: {next(iter(groups))} at every number of steps."]
    each = "; ".join(f"{names} at {', '.join(map(str, steps))}" for names, steps in groups.items())
    return [f"Lowest {label} or level with it, {solver.upper()}: {each} steps."]
