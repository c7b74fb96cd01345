"""The two quantities of a comparison as tables: bits/dim and its parts, distances to real images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from diffcov.present.digits import bearable, decimals, fixed, percent
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

        def show(cell: Cell, places: int = places) -> Html:
            return with_error(cell["bits_per_dim"], cell["bits_per_dim_stderr"], places)

        parts += [tag("h3", f"bits/dim, {solver.upper()}"), steps_table(result, solver, "bits_per_dim", show)]
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
        places = decimals([*(c["fid"] for c in cells), real.get("fid")], 3)

        def show(cell: Cell, places: int = places) -> Html:
            return join(fixed(cell["fid"], places))

        shown = missing("the distance of real images was not measured")
        if real.get("fid") is not None:
            shown = join(fixed(real["fid"], places))
        foot = tag("tr", tag("th", "real data", scope="row"), *(tag("td", shown) for _ in result["steps"]))
        parts += [
            tag("h3", f"{metric(result, 'fid')}, {solver.upper()}"),
            steps_table(result, solver, "fid", show, [foot]),
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
        ("above the lowest", _number("difference", error_places, "difference_stderr")),
        ("at the floor", _share),
    ]
    summary = "Prior, transitions, decoder, and the paired difference to the lowest at as many steps"
    return tag("details", tag("summary", summary), _long_table(result, solver, columns))


def _other_distances(result: Result, solver: str, cells: Sequence[Cell], places: int) -> Html:
    real = result["real"] or {}
    kid_places = decimals([*(c["kid"] for c in cells), real.get("kid")], 2)
    columns: list[Column] = [
        ("fid", _number("fid", places)),
        ("kid", _number("kid", kid_places)),
        ("precision", _number("precision", 3)),
        ("recall", _number("recall", 3)),
        ("seconds", _number("seconds", 1)),
    ]
    foot = tag("tr", tag("th", "real data", scope="row", colspan=2), *(tag("td", show(real)) for _, show in columns))
    names = ", ".join(metric(result, name) for name in ("kid", "precision", "recall"))
    return tag(
        "details",
        tag("summary", f"{names}, and seconds"),
        _long_table(result, solver, columns, [foot] if real else []),
    )


def _long_table(result: Result, solver: str, columns: Sequence[Column], foot: Sequence[Html] = ()) -> Html:
    """A row a cell, grouped by covariance."""
    groups = []
    for name in covariances(result, solver):
        rows = []
        for i, steps in enumerate(result["steps"]):
            cell = cell_at(result, name, solver, steps)
            lead = [tag("th", name, scope="rowgroup", rowspan=len(result["steps"]))] if i == 0 else []
            shown = [absent(name, solver) if cell is None else show(cell) for _, show in columns]
            rows.append(tag("tr", *lead, tag("th", str(steps), scope="row"), *(tag("td", one) for one in shown)))
        groups.append(tag("tbody", *rows))
    titles = ("covariance", "steps", *(title for title, _ in columns))
    head = tag("thead", tag("tr", *(tag("th", title, scope="col") for title in titles)))
    return box(join(head, *groups, *([tag("tfoot", *foot)] if foot else [])), "long")


def _number(key: str, places: int, stderr: str | None = None) -> Callable[[Cell], Html]:
    def show(cell: Cell) -> Html:
        value = cell.get(key)
        if value is None:
            return missing(f"{key.replace('_', ' ')} was not measured here")
        return with_error(value, cell.get(stderr) if stderr else None, places)

    return show


def _share(cell: Cell) -> Html:
    share = cell.get("floor_share")
    return missing("the share at the floor was not measured here") if share is None else join(percent(share))
