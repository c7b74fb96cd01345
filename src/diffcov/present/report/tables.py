"""The two quantities of a comparison as tables: bits/dim and its parts, distances to real images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from diffcov.present.digits import MOST, bearable, decimals, fixed, percent
from diffcov.present.report.grid import Cell, Result, absent, box, cell_at, covariances, measured, metric, steps_table
from diffcov.present.report.markup import Html, join, tag
from diffcov.present.report.numbers import missing, with_error

__all__ = ["bits", "distances"]

MUCH_FLOOR = 0.1
"""A share of variances at their floor above this is worth a sentence."""

Column = tuple[str, Callable[[Cell], Html]]


def bits(result: Result) -> Html:
    """bits/dim of each solver that has a bound, with its parts folded away."""
    parts = []
    for solver in result["solvers"]:
        cells = measured(result, solver, "bits_per_dim")
        if not cells:
            why = result["solvers"][solver]["why_no_bound"] or "it was not measured"
            parts.append(tag("p", f"No bits/dim for {solver.upper()}: {why}."))
            continue
        places = bearable((c["bits_per_dim_stderr"] for c in cells), (c["bits_per_dim"] for c in cells))
        parts += [tag("h3", f"bits/dim, {solver.upper()}"), steps_table(result, solver, "bits_per_dim", places)]
        parts += [*_floor_note(cells), _bits_parts(result, solver, cells, places)]
    return join(*parts)


def distances(result: Result) -> Html:
    """The Frechet distance of each solver, with the other distances folded away."""
    parts = []
    for solver in result["solvers"]:
        cells = measured(result, solver, "fid")
        if not cells:
            parts.append(tag("p", f"No distances were measured for {solver.upper()}."))
            continue
        real = result["real"] or {}
        places = bearable((c["fid_stderr"] for c in cells), (c["fid"] for c in cells), MOST)
        shown = join(tag("td", missing("the distance of real images was not measured")), tag("td"))
        if real.get("fid") is not None:
            shown = with_error(real["fid"], real.get("fid_stderr"), places)
        foot = tag("tr", tag("th", "real data", scope="row"), *(shown for _ in result["steps"]))
        parts += [
            tag("h3", f"{metric(result, 'fid')}, {solver.upper()}"),
            steps_table(result, solver, "fid", places, [foot]),
            _other_distances(result, solver, cells, places),
        ]
    return join(*parts)


def _floor_note(cells: Sequence[Cell]) -> list[Html]:
    shares: dict[str, float] = {}
    for cell in cells:
        shares[cell["covariance"]] = max(shares.get(cell["covariance"], 0.0), cell.get("floor_share") or 0.0)
    named = [f"{name} (up to {percent(share)})" for name, share in shares.items() if share > MUCH_FLOOR]
    text = f"Variances at their floor make bits/dim poor by nature: {', '.join(named)}."
    return [tag("p", text, class_="note")] if named else []


def _bits_parts(result: Result, solver: str, cells: Sequence[Cell], places: int) -> Html:
    error_places = bearable((c["difference_stderr"] for c in cells), (c["difference"] for c in cells))
    columns: list[Column] = [
        *((key, _number(key, places)) for key in ("prior", "transitions", "decoder")),
        ("bits/dim", _number("bits_per_dim", places)),
        ("above the lowest", _number("difference", error_places)),
        ("±", _number("difference_stderr", error_places)),
        ("at the floor", _share),
    ]
    summary = "Prior, transitions, decoder, and the paired difference to the lowest at as many steps"
    return tag("details", tag("summary", summary), _long_table(result, solver, columns))


def _other_distances(result: Result, solver: str, cells: Sequence[Cell], places: int) -> Html:
    real = result["real"] or {}
    kid_places = decimals([*(c["kid"] for c in cells), real.get("kid")], 2)
    error_places = bearable((c["fid_difference_stderr"] for c in cells), (c["fid_difference"] for c in cells), MOST)
    columns: list[Column] = [
        ("fid", _number("fid", places)),
        ("above the lowest", _number("fid_difference", error_places)),
        ("±", _number("fid_difference_stderr", error_places)),
        ("kid", _number("kid", kid_places)),
        ("precision", _number("precision", 3)),
        ("recall", _number("recall", 3)),
        ("seconds", _number("seconds", 1)),
    ]
    foot = tag("tr", tag("th", "real data", scope="row"), tag("td"), *(tag("td", show(real)) for _, show in columns))
    names = ", ".join(metric(result, name) for name in ("kid", "precision", "recall"))
    return tag(
        "details",
        tag("summary", f"The paired difference to the lowest at as many steps, {names}, and seconds"),
        _long_table(result, solver, columns, [foot] if real else []),
    )


def _long_table(result: Result, solver: str, columns: Sequence[Column], foot: Sequence[Html] = ()) -> Html:
    """A row a cell, those of a covariance together."""
    rows = []
    for name in covariances(result, solver):
        for steps in result["steps"]:
            cell = cell_at(result, name, solver, steps)
            shown = [absent(name, solver) if cell is None else show(cell) for _, show in columns]
            rows.append(tag("tr", tag("th", name, scope="row"), *(tag("td", one) for one in (str(steps), *shown))))
    titles = ("covariance", "steps", *(title for title, _ in columns))
    head = tag("thead", tag("tr", *(tag("th", title, scope="col") for title in titles)))
    return box(join(head, tag("tbody", *rows), *([tag("tfoot", *foot)] if foot else [])))


def _number(key: str, places: int) -> Callable[[Cell], Html]:
    def show(cell: Cell) -> Html:
        value = cell.get(key)
        if value is None:
            lowest_of_all = cell.get(f"{key.partition('difference')[0]}difference_to")
            own = "difference" in key and lowest_of_all is not None and lowest_of_all == cell.get("covariance")
            return missing("this is the lowest" if own else f"{key.replace('_', ' ')} was not measured here")
        return join(fixed(value, places))

    return show


def _share(cell: Cell) -> Html:
    share = cell.get("floor_share")
    return missing("the share at the floor was not measured here") if share is None else join(percent(share))
