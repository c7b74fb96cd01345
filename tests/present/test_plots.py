"""Curves: the right numbers on the right axes, pictures that open, and drawings that fit into a page."""

from __future__ import annotations

import io
import math
import re
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diffcov.covariance.registry import COVARIANCES
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import InputError
from diffcov.present import plots
from diffcov.present.plots.canvas import figure_of, style
from diffcov.present.plots.of_table import table_panels
from diffcov.present.plots.palette import COLOURS, INK, MARKERS, mark_of
from diffcov.present.plots.panel import Line, Panel, bulk, floats, wide
from diffcov.statistics.table import VarianceTable
from oracles.comparison import NAMES, comparison
from oracles.gaussian import GaussianWorld

SCHEDULE = NoiseSchedule.linear(50)
WORLD = GaussianWorld(SCHEDULE, mean=0.1, var=0.25)
GROUNDS = ("#ffffff", "#15181c")
"""The page's own, in light and dark."""


def shown(png: bytes) -> np.ndarray[Any, Any]:
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def lines(panel: Panel) -> dict[str, dict[float, float]]:
    return {line.name: dict(zip(line.xs, line.ys, strict=True)) for line in panel.lines}


# --- which numbers


def test_bits_and_distances_are_those_of_the_cells() -> None:
    result = comparison()
    (bits,), distances = plots.bits_panels(result), plots.frechet_panels(result)
    assert [panel.title for panel in distances] == ["fid@200 classifier, DDPM", "fid@200 classifier, DDIM"]
    for key, solver, panel in (
        ("bits_per_dim", "ddpm", bits),
        *zip(["fid"] * 2, ["ddpm", "ddim"], distances, strict=True),
    ):
        expected: dict[str, dict[float, float]] = {}
        for cell in result["cells"]:
            if cell["solver"] == solver:
                expected.setdefault(cell["covariance"], {})[cell["steps"]] = cell[key]
        assert lines(panel) == expected
        assert panel.ticks == (5, 10, 25, 50)
    assert bits.lines[0].stderr == floats(c["bits_per_dim_stderr"] for c in result["cells"][:4])
    assert {panel.level for panel in distances} == {(3.0, "real data")}


def test_cells_in_any_order_and_with_gaps() -> None:
    result = comparison(names=("small", "npr"), solvers=("ddpm",))
    result["cells"].reverse()
    result["cells"][0]["fid"] = None
    result["real"] = None
    (panel,) = plots.frechet_panels(result)
    assert list(lines(panel)["small"]) == [5, 10, 25, 50]
    assert list(lines(panel)["npr"]) == [5, 10, 25]
    assert panel.level is None


def test_exposure_is_sampled_over_forward_by_rising_t() -> None:
    result = comparison(names=("small", "npr"), steps=(5,), solvers=("ddpm",))
    one = result["exposure"][0]
    one["times"].reverse()
    one["sampled"]["npr"][0] = None
    one["forward"][1] = 0.0
    (panel,) = plots.exposure_panels(result, "ddpm")
    found = lines(panel)["npr"]
    assert list(found) == sorted(one["times"])
    assert math.isnan(found[one["times"][0]])
    assert math.isnan(found[one["times"][1]])
    assert found[one["times"][3]] == one["sampled"]["npr"][3] / one["forward"][3]
    assert plots.exposure_panels(result, "ddim") == []


def test_calibration_has_one_panel_or_none() -> None:
    result = comparison()
    (panel,) = plots.calibration_panels(result)
    assert list(lines(panel)) == list(NAMES)
    assert list(lines(panel)["npr"].values()) == result["calibration"]["covariances"]["npr"]["ratio"]
    assert panel.around == 1.0
    assert plots.calibration_panels({**result, "calibration": None}) == []


def test_table_panels_are_the_closed_form() -> None:
    statistics, variances = table_panels(WORLD.table(), SCHEDULE, 0.5)
    for t in range(1, SCHEDULE.T + 1):
        for found in lines(statistics).values():
            assert found[t] == pytest.approx(WORLD.var_eps(t))
        assert lines(variances)["corrected"][t] == pytest.approx(WORLD.cov_x0(t))
        assert lines(variances)["r"][t] == pytest.approx(float(SCHEDULE.ratio[t]))
        assert lines(variances)["range of the data"][t] == 0.5


def test_stderr_of_a_table_is_lifted_like_its_mean_and_gamma_above_one_is_told() -> None:
    table = VarianceTable.empty(SCHEDULE.T)
    for tensor, value in zip(table.tensors().values(), (4.0, 2.0, 1.5, 1.0, 0.35), strict=True):
        tensor[7], tensor[9] = value, value
    table.eps_hat_sq[9], table.eps_hat_sq_sq[9] = 4.4, 4.9
    statistics, variances = table_panels(table, SCHEDULE, 1.0)
    stderr = float(table.error_moments.stderr()[7])
    assert stderr > 0
    assert statistics.lines[1].stderr[0] == pytest.approx(stderr)
    assert variances.lines[3].stderr[0] == pytest.approx(float(SCHEDULE.ratio[7]) * stderr)
    assert "1 of 2 times have Gamma > 1" in statistics.title


@pytest.mark.parametrize(
    ("values", "expected"), [([1, 7], True), ([1, 5], False), ([0, 9], False), ([math.nan, 1, 9], True), ([], False)]
)
def test_wide(values: list[float], expected: bool) -> None:
    assert wide(values) is expected


# --- colours


def test_each_covariance_has_its_own_mark() -> None:
    marks = {mark_of(name) for name in [*COVARIANCES, "unheard-of"]}
    assert len(marks) == len(COVARIANCES) + 1
    assert mark_of("small") == mark_of("small")
    assert len(set(MARKERS)) == len(MARKERS) == len(COLOURS)


@pytest.mark.parametrize("mode", [0, 1])
def test_colours_stand_out_from_their_ground(mode: int) -> None:
    """Contrast of at least 3, as WCAG 2 asks of graphics."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for pair in COLOURS:
        dark, light = sorted((luminance(pair[mode]), luminance(GROUNDS[mode])))
        assert (light + 0.05) / (dark + 0.05) >= 3, pair


# --- pictures


def test_curves_are_a_picture_with_every_colour() -> None:
    pixels = {tuple(int(v) for v in pixel) for pixel in shown(plots.curves_png(comparison())).reshape(-1, 3)}
    for name in NAMES:
        colour = mark_of(name).colour
        assert tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5)) in pixels, name


def test_the_same_result_is_the_same_picture() -> None:
    assert plots.curves_png(comparison()) == plots.curves_png(comparison())


@pytest.mark.parametrize("steps", [(10,), (5, 10, 25, 50, 100, 250)])
@pytest.mark.parametrize("solvers", [("ddpm",), ("ddim",)])
def test_one_step_count_or_many_one_solver(steps: tuple[int, ...], solvers: tuple[str, ...]) -> None:
    assert shown(plots.curves_png(comparison(steps=steps, solvers=solvers))).min() < 100


def test_table_curves_are_a_picture() -> None:
    picture = shown(plots.table_png(WORLD.table(), SCHEDULE, 1.0))
    assert picture.min() < 100
    assert picture.mean() > 200


def test_nothing_to_draw() -> None:
    result = comparison(solvers=("ddim",))
    for cell in result["cells"]:
        cell["fid"] = None
    with pytest.raises(InputError, match="no curve to draw"):
        plots.curves_png(result)
    with pytest.raises(InputError, match="holds no measured time"):
        plots.table_png(VarianceTable.empty(50), SCHEDULE, 1.0)


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    assert plots.available()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert not plots.available()
    for draw in (
        lambda: plots.curves_png(comparison()),
        lambda: plots.table_png(WORLD.table(), SCHEDULE, 1.0),
        lambda: plots.panel_svg(plots.bits_panels(comparison())[0], "a"),
        lambda: plots.key_svg("npr"),
    ):
        with pytest.raises(InputError, match=re.escape("pip install matplotlib")):
            draw()


# --- drawings for a page


def test_svg_takes_the_colours_of_the_page() -> None:
    (panel,) = plots.bits_panels(comparison())
    svg = plots.panel_svg(panel, "bits-0")
    assert svg == plots.panel_svg(panel, "bits-0")
    assert svg.startswith("<svg ")
    assert svg.endswith("</svg>")
    assert "currentColor" in svg
    for name in NAMES:
        assert f"var(--series-{mark_of(name).place})" in svg
    assert [c for c in (INK, *(light for light, _ in COLOURS)) if c in svg] == []
    for word in ("http", "<style", "<metadata", "font-family", "#000000", "2026-"):
        assert word not in svg


def test_svg_ids_are_its_own_and_every_reference_has_one() -> None:
    (panel,) = plots.bits_panels(comparison())
    svg = plots.panel_svg(panel, "fig-7")
    ids = re.findall(r' id="([^"]+)"', svg)
    used = re.findall(r'href="#([^"]+)"', svg) + re.findall(r"url\(#([^)]+)\)", svg)
    assert len(ids) == len(set(ids))
    assert set(used) == set(ids)
    assert all(one.startswith("fig-7-") for one in ids)


def test_titles_are_escaped_and_no_formulas() -> None:
    (panel,) = plots.bits_panels(comparison())
    svg = plots.panel_svg(Panel('<script>"&$\\1{$', "x", "<y>", panel.lines), "a")
    assert "<script" not in svg
    assert 'aria-label="&lt;script&gt;&quot;&amp;$\\1{$"' in svg


@pytest.mark.parametrize("name", [*COVARIANCES, "unheard-of"])
def test_keys_show_the_mark(name: str) -> None:
    assert plots.key_svg(name).count(f"var(--series-{mark_of(name).place})") == 2


# --- outliers


def test_one_outlier_does_not_flatten_an_axis() -> None:
    """bits/dim of some 5 with one of 830: the axis is made for the others, and the title says what lies outside."""
    result = comparison(solvers=("ddpm",))
    for i, cell in enumerate(result["cells"]):
        cell["bits_per_dim"] = 4 + 0.05 * i
    far = result["cells"][0]
    far["bits_per_dim"] = 830.0
    (panel,) = plots.bits_panels(result)
    assert panel.limits == (4.05, 4 + 0.05 * (len(result["cells"]) - 1))
    assert not panel.log_y, "what is left is not wide"
    assert [(line.name, x, y) for line, x, y in panel.outside()] == [("small", 5.0, 830.0)]
    svg = plots.panel_svg(panel, "a")
    assert "outside: small 830 at 5" in svg
    with style():
        (axes,) = figure_of([panel], 1, legend=False).axes
        low, high = axes.get_ylim()
    assert 3.5 < low < 4.05 < 5.15 < high < 6
    far["bits_per_dim"] = 4.0
    (panel,) = plots.bits_panels(result)
    assert (panel.limits, panel.outside()) == (None, [])
    assert "outside" not in plots.panel_svg(panel, "a")


def test_what_most_curves_do_stays_inside() -> None:
    """Every path is far from 1 at its last time: that is no outlier."""
    times = tuple(float(t) for t in range(1, 21))
    lines = tuple(Line(name, times, (30.0, *(1 + 0.01 * i for i in range(19)))) for name in "abcdef")
    panel = Panel("", "t", "ratio", lines, level=(1.0, "1"), log_y=True, around=1.0)
    assert panel.robust() is panel
    one = (*lines[:5], Line("f", times, tuple(1 + 0.01 * i for i in range(20))))
    assert Panel("", "t", "ratio", (lines[0], *([one[5]] * 5)), log_y=True, around=1.0).robust().limits == (1.0, 1.19)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 2, 3, 4, 5, 1000], (1.0, 5.0)),
        ([1e-6, 1, 2, 3, 4, 5], (1.0, 5.0)),
        ([-3.0, -2, -1, 0, 1, 2, 500], (-3.0, 2.0)),
        ([1.0, 2, 4, 8, 16, 32, 64], None),
        ([1.0, 1.1, 1.2, 1.3, 700, 900], None),
        ([1.0, 2, 900], None),
        ([5.0, 5, 5, 5, 5], None),
        ([], None),
    ],
    ids=["above", "below", "signs", "wide", "too many", "too few", "equal", "none"],
)
def test_the_bulk(values: list[float], expected: tuple[float, float] | None) -> None:
    """In ratio where all are positive; outliers are at most a quarter, and would flatten the rest."""
    assert bulk(values) == expected


def test_an_outlier_below_and_more_than_a_title_holds() -> None:
    xs = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    lines = [Line(f"curve {i}", xs, (1.0, 1.1, 1.2, 1.1, 1.0, 1.1)) for i in range(8)]
    lines += [Line("low", xs, (1e-9, 1e-9, 1e-9, 1.0, 1.0, 1.0))]
    panel = Panel("t", "x", "y", tuple(lines), log_y=True).robust()
    assert panel.limits == (1.0, 1.2)
    assert "outside: low 1e-09 at 1, low 1e-09 at 2 and 1 more" in plots.panel_svg(panel, "a")


@pytest.mark.parametrize("log_y", [True, False])
def test_an_axis_whose_values_are_all_the_same_has_a_height(log_y: bool) -> None:
    line = Line("a", (1.0, 2.0, 3.0), (0.25, 0.25, 40.0))
    panel = Panel("t", "x", "y", (line,), log_y=log_y, limits=(0.25, 0.25))
    with style():
        (axes,) = figure_of([panel], 1, legend=False).axes
        low, high = axes.get_ylim()
    assert low < 0.25 < high < 40
