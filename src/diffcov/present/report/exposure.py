"""How far the sampled path leaves the path that the network was trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from diffcov.present import plots
from diffcov.present.digits import fixed
from diffcov.present.report.curves import figure
from diffcov.present.report.grid import Result, absent, box, cell_at
from diffcov.present.report.markup import Html, join, tag
from diffcov.present.report.numbers import missing

__all__ = ["READING", "exposure_parts"]

READING = (
    "The mean square of the predicted noise on the sampled path over that on the forward path (noised data). 1: at "
    "this t the samples look to the network as data do; the further from 1, the further the samples have drifted."
)


def exposure_parts(result: Result) -> Html:
    """For each solver the curves over t, and the ratio furthest from 1 by covariance and number of steps."""
    found = {(one["solver"], one["steps"]): one for one in result["exposure"]}
    parts: list[Html] = []
    for solver in dict.fromkeys(solver for solver, _ in found):
        steps = [k for k in result["steps"] if (solver, k) in found]
        head = tag("tr", tag("th", "steps", scope="col"), *(tag("th", str(k), scope="col") for k in steps))
        rows = [
            tag(
                "tr",
                tag("th", name, scope="row"),
                *(tag("td", _furthest(result, found[solver, k], name)) for k in steps),
            )
            for name in result["covariances"]
        ]
        parts += [
            tag("h3", solver.upper()),
            figure(result, f"exposure-{len(parts)}", partial(plots.exposure_panels, solver=solver)),
            tag("p", "The ratio furthest from 1:", class_="note"),
            box(join(tag("thead", head), tag("tbody", *rows))),
        ]
    return join(*parts)


def _furthest(result: Result, one: Mapping[str, Any], name: str) -> Html:
    if cell_at(result, name, one["solver"], one["steps"]) is None:
        return absent(name, one["solver"])
    pairs = zip(one["sampled"].get(name, []), one["forward"], strict=False)
    ratios = [sampled / forward for sampled, forward in pairs if sampled and forward]
    if not ratios:
        return missing(f"the sampled path of {name} was not measured")
    return join(fixed(max(ratios, key=lambda ratio: abs(math.log(ratio))), 3))
