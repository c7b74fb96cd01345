"""Is the predicted variance the error that is made? Tables coloured by how far the ratio is from 1."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from diffcov.present.digits import fixed, percent
from diffcov.present.report.grid import box
from diffcov.present.report.markup import Html, join, tag
from diffcov.present.report.numbers import missing

__all__ = ["READING", "calibration_tables", "shade"]

READING = (
    "The ratio is the squared error of the mean over the variance that the covariance predicts. 1 is right; above 1 "
    "the covariance is too small, below 1 it is too large."
)
SATURATED = math.log(4)
"""A ratio of 4 or of 1/4 has the full colour."""
STRONGEST = 0.5
TOO_SMALL, TOO_LARGE = "214, 96, 20", "40, 125, 205"
"""Red, green, blue of ratios above and below 1; laid thinly over the page's ground, in light and in dark."""

Row = Sequence[float | None]


def calibration_tables(found: Mapping[str, Any]) -> Html:
    """Tables by frequency band and by quantile of the predicted variance, averaged over t; then band by t for each."""
    ones = found["covariances"]
    bands = [f"band {band}" for band in found["bands"]]
    rows = {name: [_mean(one["ratio"]), *_over_times(one["by_band"])] for name, one in ones.items()}
    extra = {name: [_log_miss(one), _floor(one)] for name, one in ones.items()}
    parts = [
        tag("h3", "By frequency band, low to high"),
        _heat(["all", *bands], rows, extra, ["rms log ratio", "at the floor"]),
    ]
    quantiles = {name: _over_times(one["by_quantile"]) for name, one in ones.items() if one["by_quantile"]}
    if quantiles:
        count = found["quantiles"]
        parts += [
            tag("h3", "By predicted variance, smallest to largest"),
            _heat([f"{100 * q // count}–{100 * (q + 1) // count} %" for q in range(count)], quantiles),
            tag("p", "Only covariances that differ from pixel to pixel have these.", class_="note"),
        ]
    parts.append(tag("p", "Ratios in these tables are geometric means over the measured t.", class_="note"))
    each = [join(tag("h4", name), _by_time(bands, found["times"], one["by_band"])) for name, one in ones.items()]
    return join(*parts, tag("details", tag("summary", "Each covariance by t and frequency band"), *each))


def _by_time(bands: Sequence[str], times: Sequence[int], rows: Sequence[Row]) -> Html:
    """Band by t of one covariance; a sentence where it predicts no error at all."""
    if not any(value is not None and value > 0 for row in rows for value in row):
        return tag("p", "It predicts that the mean makes no error, so that there is no finite ratio.", class_="note")
    return _heat(bands, {f"t = {t}": row for t, row in zip(times, rows, strict=True)})


def shade(ratio: float) -> str | None:
    """The ground of a ratio as CSS; None at 1."""
    reach = math.log(ratio) / SATURATED
    strength = round(STRONGEST * min(abs(reach), 1.0), 3)
    return f"background: rgba({TOO_SMALL if reach > 0 else TOO_LARGE}, {strength})" if strength else None


def _heat(
    titles: Sequence[str],
    rows: Mapping[str, Row],
    extra: Mapping[str, Sequence[Html]] | None = None,
    extra_titles: Sequence[str] = (),
) -> Html:
    head = tag("tr", tag("th", ""), *(tag("th", title, scope="col") for title in (*titles, *extra_titles)))
    body = [
        tag(
            "tr",
            tag("th", name, scope="row"),
            *map(_ratio, row),
            *(tag("td", one) for one in (extra or {}).get(name, ())),
        )
        for name, row in rows.items()
    ]
    return box(join(tag("thead", head), tag("tbody", *body)), "heat")


def _ratio(value: float | None) -> Html:
    if value is None or value <= 0:
        return tag("td", missing("no finite positive ratio here"))
    return tag("td", fixed(value, 2 if value >= 0.095 else 3), style=shade(value))


def _mean(values: Row) -> float | None:
    """The geometric mean of those that have a logarithm."""
    logs = [math.log(value) for value in values if value is not None and value > 0]
    return math.exp(sum(logs) / len(logs)) if logs else None


def _over_times(rows: Sequence[Row]) -> list[float | None]:
    return [_mean(column) for column in zip(*rows, strict=True)]


def _log_miss(one: Mapping[str, Any]) -> Html:
    return missing("no finite ratio") if one["rms_log"] is None else join(fixed(one["rms_log"], 2))


def _floor(one: Mapping[str, Any]) -> Html:
    shares = [share for share in one["floor_share"] if share is not None]
    return join(percent(sum(shares) / len(shares))) if shares else missing("not measured")
