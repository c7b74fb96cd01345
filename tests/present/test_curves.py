"""The picture of a variance table: every point where it belongs, every covariance that needs nothing else."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence

import pytest
import torch
from rich.console import Console

from diffcov.covariance import registry
from diffcov.data import DataDescription
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.present.terminal.curves import HEIGHT, MARGIN, LinePlot, variance_curves
from diffcov.statistics.table import VarianceTable
from oracles.gaussian import GaussianWorld
from oracles.offered import OF_ANY_MEAN

WIDTH = 72
"""Columns between the axes of what is drawn here."""
AXIS = MARGIN
"""Characters before the first column: a label, a space, the axis."""
STYLES = {"first": ("o", "red"), "second": ("x", "bold blue")}


def grid(text: str) -> list[str]:
    """The rows between title and x axis, from the largest value down."""
    rows = text.splitlines()[2 : HEIGHT + 2]
    assert all(row[AXIS - 1] == "|" and len(row) == AXIS + WIDTH for row in rows)
    return [row[AXIS:] for row in rows]


def marks(rows: Sequence[str]) -> dict[tuple[int, int], str]:
    """(row, column) -> mark."""
    return {(r, c): mark for r, row in enumerate(rows) for c, mark in enumerate(row) if mark != " "}


def plot(xs: Sequence[float], curves: Mapping[str, Sequence[float]]) -> LinePlot:
    return LinePlot("title", "what x is", "what y is", xs, curves, STYLES)


def drawn(of: LinePlot, width: int = AXIS + WIDTH + 1) -> str:
    return of.drawn(width).plain


def plotted(xs: Sequence[float], curves: Mapping[str, Sequence[float]]) -> dict[tuple[int, int], str]:
    return marks(grid(drawn(plot(xs, curves))))


def test_known_points_are_where_they_belong() -> None:
    """One decade a row, one unit of x a column."""
    xs = [0, 5, 40, WIDTH - 1]
    rows = [0, 3, 10, HEIGHT - 1]
    found = plotted(xs, {"first": [10.0**-row for row in rows]})
    assert found == dict.fromkeys(zip(rows, xs, strict=True), "o")


def test_x_runs_from_the_first_to_the_last_whatever_they_are() -> None:
    found = plotted([100, 150, 300], {"first": [1.0, 1.0, 1e-15]})
    assert found == {(0, 0): "o", (0, round(50 / 200 * (WIDTH - 1))): "o", (HEIGHT - 1, WIDTH - 1): "o"}


def test_two_curves_share_the_axes_and_the_later_lies_on_top() -> None:
    found = plotted([0, WIDTH - 1], {"first": [1.0, 1e-3], "second": [1e-15, 1e-3]})
    assert found == {(0, 0): "o", (HEIGHT - 1, 0): "x", (3, WIDTH - 1): "x"}


@pytest.mark.parametrize("absent", [0.0, -1.0, math.nan])
def test_what_has_no_logarithm_is_left_out(absent: float) -> None:
    found = plotted([0, 1, WIDTH - 1], {"first": [1.0, absent, 1e-15]})
    assert found == {(0, 0): "o", (HEIGHT - 1, WIDTH - 1): "o"}


def test_one_value_alone_is_drawn() -> None:
    found = plotted([0, WIDTH - 1], {"first": [2.0, 2.0]})
    assert sorted(column for _, column in found) == [0, WIDTH - 1]
    assert len({row for row, _ in found}) == 1


@pytest.mark.parametrize(("xs", "ys"), [([], []), ([3], [1.0]), ([3, 4], [0.0, -1.0])])
def test_too_little_to_draw(xs: list[float], ys: list[float]) -> None:
    assert drawn(plot(xs, {"first": ys})) == "title: too few measured times to draw"


def test_labels_title_and_legend() -> None:
    text = plot([7, 900], {"first": [1.0, 1e-15], "second": [1.0, 1.0]}).drawn(AXIS + WIDTH + 1)
    lines = text.plain.splitlines()
    assert lines[:2] == ["title", "y: what y is"]
    assert float(lines[2].split("|")[0]) == pytest.approx(1.0)
    assert float(lines[HEIGHT + 1].split("|")[0]) == pytest.approx(1e-15)
    assert lines[HEIGHT + 3].split() == ["7", "453.5", "900"]
    assert lines[HEIGHT + 4] == "x: what x is"
    assert lines[HEIGHT + 5].split() == ["o", "first", "x", "second"]
    assert "red" in {str(span.style) for span in text.spans}


@pytest.mark.parametrize("width", [24, 40, 60, 80, 120, 200])
def test_it_fits_the_width_and_labels_its_axes(width: int) -> None:
    """Printed: no line is longer than the terminal is wide, and both ends of x stand below their columns."""
    console = Console(width=width, file=io.StringIO(), _environ={})
    console.print(variance_curves(table(), SCHEDULE, DATA))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    text = " ".join(console.file.getvalue().split())
    assert "y: (var_xs - small) / (large - small), log scale" in text
    assert "x: t, from the image to noise" in text
    (axis,) = [n for n, line in enumerate(lines) if line.strip().startswith("+--")]
    assert len(lines[axis]) == len(lines[axis + 1].rstrip()) == min(width - 1, AXIS + 100)
    assert lines[axis + 1][AXIS] == "1"
    assert lines[axis + 1].endswith(str(SCHEDULE.T))


# --- the curves of a table

SCHEDULE = NoiseSchedule.linear(50)
DATA = DataDescription(1, 8, 8)
"""var_x0 is at most 1."""
WIDE = DataDescription(1, 8, 8, low=-1000.0, high=1000.0)
"""Of a bound, 1e6, that is so far off that it hides nothing."""


def table() -> VarianceTable:
    """Of a mean that errs: analytic and corrected differ."""
    exact = GaussianWorld(SCHEDULE, mean=0.1, var=0.25).table()
    norm, norm_sq = 0.5 * exact.eps_hat_sq, 0.25 * exact.eps_hat_sq_sq
    return VarianceTable(exact.count, norm, norm_sq, exact.error_sq, exact.error_sq_sq)


def test_every_covariance_that_needs_a_table_at_most_is_drawn() -> None:
    text = drawn(variance_curves(table(), SCHEDULE, DATA))
    expected = [n for n in OF_ANY_MEAN if set(registry.load(n).needs) <= {VarianceTable} and n != "small"]
    legend = text.splitlines()[-1].split()
    assert legend[1::2] == ["bound", *expected]
    assert legend[::2] == ["·", *(name[0] for name in expected)]
    assert set(marks(grid(text)).values()) >= {name[0] for name in expected}, "none hides another here"
    assert "small" in text.splitlines()[0]


def test_small_is_zero_and_large_is_one_at_every_time() -> None:
    """The share of `large` is (large - small) / (large - small)."""
    text = drawn(variance_curves(GaussianWorld(SCHEDULE, mean=0.0, var=1e-6).table(), SCHEDULE, WIDE))
    rows = grid(text)
    places = [place for place, mark in marks(rows).items() if mark == "l"]
    assert len({row for row, _ in places}) == 1
    assert len(places) == len(range(1, SCHEDULE.T + 1))


def test_the_perfect_model_s_share_is_where_the_closed_form_says() -> None:
    """corrected is Cov[x_0 | x_t] / beta_bar_t: relative to `large` (= 1) its row is known in every column."""
    world = GaussianWorld(SCHEDULE, mean=0.1, var=0.25)
    found = marks(grid(drawn(variance_curves(world.table(), SCHEDULE, WIDE))))
    times = range(1, SCHEDULE.T + 1)
    shares = [world.cov_x0(t) / float(SCHEDULE.beta_bar[t]) for t in times]
    ratios = [float(SCHEDULE.ratio[t]) / float(SCHEDULE.beta_bar[t]) for t in times]
    low = math.log10(min([*shares, 1.0, *ratios]))
    high = math.log10(max([*shares, 1.0, *ratios]))
    for t, share in zip(times, shares, strict=True):
        row = round((high - math.log10(share)) / (high - low) * (HEIGHT - 1))
        column = round((t - 1) / (SCHEDULE.T - 1) * (WIDTH - 1))
        assert found[row, column] == "c", t


def test_a_table_that_knows_norms_alone_has_no_curve_of_the_error() -> None:
    norms = table().eps_hat_moments.mean()[1:]
    text = drawn(variance_curves(VarianceTable.of_norms(norms), SCHEDULE, DATA))
    assert text.splitlines()[-1].split()[1::2] == ["bound", "large", "analytic"]
    assert set(marks(grid(text)).values()) == {"·", "l", "a"}


def test_a_table_of_one_time_is_too_little() -> None:
    exact = table()
    empty = VarianceTable.empty(SCHEDULE.T)
    for name, value in empty.tensors().items():
        value[9] = exact.tensors()[name][9]
    assert torch.equal(empty.count.nonzero().flatten(), torch.tensor([9]))
    assert drawn(variance_curves(empty, SCHEDULE, DATA)).endswith("too few measured times to draw")


def test_a_schedule_that_ends_at_pure_noise_is_drawn_without_what_has_no_value_there() -> None:
    """analytic says nothing at alpha_bar 0; the other times of it are drawn, and the other covariances there."""
    schedule = NoiseSchedule.from_betas([0.1, 0.2, 0.5, 1.0])
    ones = torch.ones(5, dtype=torch.float64)
    table = VarianceTable(ones, 0.5 * ones, 0.25 * ones, 0.3 * ones, 0.09 * ones)
    text = drawn(variance_curves(table, schedule, DataDescription(1, 2, 2)))
    assert "a analytic" in text
    assert "c corrected" in text
