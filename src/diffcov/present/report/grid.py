"""The result by its coordinates, and tables of it: rows are covariances, columns are numbers of steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from diffcov.present.report.markup import Html, join, tag
from diffcov.present.report.numbers import missing

__all__ = ["Cell", "Result", "absent", "box", "cell_at", "covariances", "lowest", "measured", "metric", "steps_table"]

Result = Mapping[str, Any]
Cell = Mapping[str, Any]


def cell_at(result: Result, covariance: str, solver: str, steps: int) -> Cell | None:
    """The cell, or None for a combination that has no meaning."""
    place = (covariance, solver, steps)
    return next((c for c in result["cells"] if (c["covariance"], c["solver"], c["steps"]) == place), None)


def measured(result: Result, solver: str, key: str) -> list[Cell]:
    """The cells of a solver that have this quantity."""
    return [cell for cell in result["cells"] if cell["solver"] == solver and cell.get(key) is not None]


def covariances(result: Result, solver: str) -> list[str]:
    """The covariances with any cell of this solver, in the result's order."""
    found = {cell["covariance"] for cell in result["cells"] if cell["solver"] == solver}
    return [name for name in result["covariances"] if name in found]


def lowest(result: Result, solver: str, steps: int, key: str) -> list[Cell]:
    """The cells with the lowest value at this number of steps: none, one, or several that tie."""
    found = [cell for cell in measured(result, solver, key) if cell["steps"] == steps]
    least = min((cell[key] for cell in found), default=None)
    return [cell for cell in found if cell[key] == least]


def metric(result: Result, name: str) -> str:
    """A metric by its full name: ``fid@200 classifier``."""
    return f"{name}@{result['settings']['count']} {result['settings']['features']}"


def absent(covariance: str, solver: str) -> Html:
    """The dash of a combination that was left out."""
    return missing(f"{covariance} was not measured with {solver.upper()}: the two have no meaning together")


def steps_table(result: Result, solver: str, key: str, show: Callable[[Cell], Html], foot: Sequence[Html] = ()) -> Html:
    """One quantity of a solver; the lowest value of each column is bold.

    Args:
        result: the comparison.
        solver: which.
        key: the quantity.
        show: a cell that has the quantity -> its text.
        foot: more rows.
    """
    best = {id(cell) for steps in result["steps"] for cell in lowest(result, solver, steps, key)}
    rows = []
    for name in result["covariances"]:
        entries = []
        for steps in result["steps"]:
            cell = cell_at(result, name, solver, steps)
            if cell is None:
                entries.append(tag("td", absent(name, solver)))
            elif cell.get(key) is None:
                entries.append(tag("td", missing(f"not measured, or not a finite number, at {steps} steps")))
            else:
                entries.append(tag("td", show(cell), class_="best" if id(cell) in best else None))
        rows.append(tag("tr", tag("th", name, scope="row"), *entries))
    head = tag("tr", tag("th", "steps", scope="col"), *(tag("th", str(k), scope="col") for k in result["steps"]))
    return box(join(tag("thead", head), tag("tbody", *rows), *([tag("tfoot", *foot)] if foot else [])))


def box(content: Html, class_: str | None = None) -> Html:
    """A table that scrolls inside its box where the window is narrower."""
    return tag("div", tag("table", content, class_=class_), class_="scroll", tabindex="0")
