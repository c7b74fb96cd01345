"""The result by its coordinates, and tables of it: rows are covariances, columns are numbers of steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from diffcov.engines.distances.error import WITHIN
from diffcov.present.report.markup import Html, join, tag
from diffcov.present.report.numbers import missing, with_error

__all__ = [
    "Cell", "Result", "absent", "box", "cell_at", "covariances", "level", "lowest", "measured", "metric", "ranking",
    "steps_head", "steps_table",
]  # fmt: skip

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


def ranking(result: Result, steps: int, of: str, solver: str | None = None) -> Mapping[str, Any] | None:
    """The ranking of distances of a group: "covariances" of a solver, "samplers" or "all"; None if there is none."""
    place = steps, of, solver
    return next((one for one in result["ranking"] if (one["steps"], one["of"], one["solver"]) == place), None)


def level(result: Result, solver: str, steps: int, key: str) -> list[Cell]:
    """The lowest cell at this number of steps and all that cannot be told from it, lowest first; none if none has it.

    Bounds are told apart by two standard errors of their paired difference, as distances are.
    """
    found = sorted((cell for cell in measured(result, solver, key) if cell["steps"] == steps), key=lambda c: c[key])
    if key == "fid":
        known = ranking(result, steps, "covariances", solver)
        return [cell for cell in found if known is not None and cell["covariance"] in known["level"]]
    return [cell for cell in found if cell is found[0] or _near(cell)]


def _near(cell: Cell) -> bool:
    """Whether the bound of a cell lies within the error above the lowest; where no error is known, it does."""
    above, stderr = cell["difference"], cell["difference_stderr"]
    return above is None or stderr is None or above <= WITHIN * stderr


def metric(result: Result, name: str) -> str:
    """A metric by its full name: ``fid@200 classifier``."""
    return f"{name}@{result['settings']['count']} {result['settings']['features']}"


def absent(covariance: str, solver: str) -> Html:
    """The dash of a combination that was left out."""
    return missing(f"{covariance} was not measured with {solver.upper()}: the two have no meaning together")


def steps_head(result: Result) -> Html:
    """The head of a table with two columns a number of steps, a value and its error."""
    pairs = (
        join(tag("th", str(steps), scope="col"), tag("th", "±", scope="col", title=f"standard error at {steps} steps"))
        for steps in result["steps"]
    )
    return tag("thead", tag("tr", tag("th", "steps", scope="col"), *pairs))


def steps_table(result: Result, solver: str, key: str, places: int, foot: Sequence[Html] = ()) -> Html:
    """One quantity of a solver and its error; bold is the lowest of each column and what cannot be told from it.

    Args:
        result: the comparison.
        solver: which.
        key: the quantity.
        places: decimals.
        foot: more rows.
    """
    best = {id(cell) for steps in result["steps"] for cell in level(result, solver, steps, key)}
    rows = []
    for name in result["covariances"]:
        entries = []
        for steps in result["steps"]:
            cell = cell_at(result, name, solver, steps)
            if cell is None:
                entries.append(join(tag("td", absent(name, solver)), tag("td")))
            elif cell.get(key) is None:
                why = f"not measured, or not a finite number, at {steps} steps"
                entries.append(join(tag("td", missing(why)), tag("td")))
            else:
                class_ = "best" if id(cell) in best else None
                entries.append(with_error(cell[key], cell.get(f"{key}_stderr"), places, class_))
        rows.append(tag("tr", tag("th", name, scope="row"), *entries))
    return box(join(steps_head(result), tag("tbody", *rows), *([tag("tfoot", *foot)] if foot else [])))


def box(content: Html, class_: str | None = None) -> Html:
    """A table that scrolls inside its box where the window is narrower."""
    return tag("div", tag("table", content, class_=class_), class_="scroll", tabindex="0")
