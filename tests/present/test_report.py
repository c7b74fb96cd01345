"""``report.html``: every number is in it, nothing is loaded from elsewhere, and no text of a user becomes markup."""

from __future__ import annotations

import base64
import io
import json
import re
import sys
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from diffcov.present.digits import bearable, decimals, fixed, percent, significant
from diffcov.present.report import page as report_page
from diffcov.present.report.calibration import shade
from diffcov.present.report.headline import findings, headline
from diffcov.present.report.markup import join, tag
from diffcov.store.datasets import load_images
from diffcov.store.images import GUTTER
from oracles.comparison import NAMES, comparison, ranked, sampler_sheets_of, sheets_of

LEVELS = 17
EVIL = "<script>alert('x')</script>\"&amp;</style>--></svg>"
VOID = {"img", "meta"}
Place = tuple[str, str, int]


class Page(HTMLParser):
    """Reads the page as a browser's tree: every tag must be closed, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self.rows: list[list[int]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({key for key, _ in attrs}) == len(attrs), (tag, attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.cells.append("")
            self.rows[-1].append(len(self.cells) - 1)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert "svg" in self.stack, f"<{tag}/> is only known inside an svg"
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.stack and self.stack[-1] not in ("style", "script"):
            self.words.append(data)
        if {"td", "th"} & set(self.stack):
            self.cells[-1] += data

    def attribute(self, name: str) -> list[str]:
        return [str(attrs[name]) for _, attrs in self.tags if name in attrs]

    def row(self, *start: str) -> list[list[str]]:
        """The rest of each table row that begins with these cells."""
        rows = [[self.cells[i] for i in row] for row in self.rows]
        return [row[len(start) :] for row in rows if row[: len(start)] == list(start)]

    @property
    def text(self) -> str:
        return " ".join(self.words)


@pytest.fixture(scope="module")
def digits() -> Tensor:
    return load_images("digits").images


@pytest.fixture
def made(digits: Tensor) -> Any:
    """``made(result)`` gives its report as (page, text)."""

    def make(result: dict[str, Any], sheets: dict[Place, Tensor] | None = None) -> tuple[Page, str]:
        text = report_page(result, sheets_of(result, digits) if sheets is None else sheets, LEVELS)
        return Page(text), text

    return make


def numbers(page: Page) -> list[float]:
    """Every number that stands in a table."""
    return [float(found) for cell in page.cells for found in re.findall(r"-?\d+\.?\d*", cell.replace("−", "-"))]


# --- the page as a whole


def test_every_number_of_every_cell_is_in_a_table(made: Any) -> None:
    result = comparison()
    page, _ = made(result)
    found = torch.tensor(numbers(page), dtype=torch.float64)
    keys = ("bits_per_dim", "bits_per_dim_stderr", "difference", "difference_stderr", "prior", "transitions", "decoder")
    for cell in (*result["cells"], result["real"]):
        for key in (*keys, "fid", "kid", "precision", "recall"):
            value = cell.get(key)
            if value is not None:
                nearest = float((found - value).abs().min())
                assert nearest <= max(0.005 * abs(value), 0.00051), (key, value)
        if cell.get("floor_share") is not None:
            assert percent(cell["floor_share"]) in page.cells


def test_numbers_stand_where_they_belong(made: Any) -> None:
    """Rows are covariances, columns are steps; the folded tables have a row a cell."""
    result = comparison(names=("small", "npr"), steps=(10, 50))
    page, _ = made(result)
    assert page.row("steps")[0] == ["10", "±", "50", "±"]
    assert page.row("npr")[0] == ["2.601", "0.006", "2.281", "0.004"]
    assert page.row("npr", "10") == [
        ["0.012", "1.701", "0.888", "2.601", "–", "–", "2.0 %"],
        ["14.570", "3.070", "0.071", "0.01060", "0.839", "0.743", "0.7"],
        ["11.570", "3.070", "0.069", "0.01060", "0.839", "0.743", "0.7"],
    ]
    assert ["0.012", "10.300", "0.888", "11.200", "8.599", "0.002", "0 %"] in page.row("small", "10")
    assert ["3.000", "0.070", "3.000", "0.070"] in page.row("real data")
    assert ["", "3.000", "–", "–", "0.00010", "0.910", "0.930", "–"] in page.row("real data")


def test_one_number_a_cell(made: Any) -> None:
    """So that a column can be sorted; words have none but those of a name."""
    _, text = made(comparison(samplers=("a", "b")))
    told = text[text.index('id="samplers"') : text.index('id="the-covariances"')]
    cells = re.findall(r"<td[^>]*>(.*?)</td>", told, flags=re.S)
    bare = [re.sub(r"<[^>]*>", "", cell) for cell in cells if "<img" not in cell]
    assert len(bare) > 200
    assert [one for one in bare if not re.fullmatch(r"−?\d+(\.\d+)?( %)?|–|", one)] == []


def test_sections_come_in_order(made: Any) -> None:
    page, text = made(comparison())
    order = [
        *("what-was-measured", "bits-per-dimension", "distance-to-real-images", "curves", "samples"),
        *("calibration", "exposure", "the-covariances", "do-it-again"),
    ]
    assert [attrs["id"] for tag, attrs in page.tags if tag == "section"] == order
    assert [href[1:] for href in page.attribute("href")] == order
    assert text.startswith("<!DOCTYPE html>\n")


def test_nothing_is_loaded_from_anywhere(made: Any) -> None:
    page, text = made(comparison())
    for name in ("src", "href", "xlink:href", "srcset", "action", "data"):
        for value in page.attribute(name):
            assert value.startswith(("data:image/png;base64,", "#")), value
    assert not {tag for tag, _ in page.tags} & {"link", "iframe", "object", "base"}
    assert [attrs for tag, attrs in page.tags if tag == "script"] == [{}], "one script of the page's own, inside it"
    assert [one for one in re.findall(r"url\(([^)]*)\)", text) if not one.startswith("#")] == []
    assert "@import" not in text
    assert "http" not in text


def test_ids_are_unique_and_references_lead_somewhere(made: Any) -> None:
    page, text = made(comparison())
    ids = page.attribute("id")
    assert len(ids) == len(set(ids))
    used = {value[1:] for name in ("href", "xlink:href") for value in page.attribute(name) if value[0] == "#"}
    assert used | set(re.findall(r"url\(#([^)]+)\)", text)) == set(ids)


def test_dark_mode_and_phones(made: Any) -> None:
    page, text = made(comparison())
    assert text.count("@media (prefers-color-scheme: dark)") == 2, "the palette's and the page's"
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in [attrs for _, attrs in page.tags]
    tables = sum(tag == "table" for tag, _ in page.tags)
    assert tables > 0
    assert page.attribute("class").count("scroll") == tables, "each table scrolls inside its box"
    used = set(re.findall(r"var\((--[\w-]+)\)", text))
    assert used <= set(re.findall(r"(--[\w-]+): ?#", text))


def test_the_same_result_is_the_same_file(made: Any) -> None:
    assert made(comparison())[1] == made(comparison())[1]


def test_texts_of_a_user_stay_text(made: Any) -> None:
    result = comparison(names=("small", EVIL), steps=(5, 10), source=EVIL)
    result["run"] = EVIL
    result["settings"]["features"] = EVIL
    result["calibration"]["bands"][0] = EVIL
    page, text = made(result)
    assert text.count("<script") == [tag for tag, _ in page.tags].count("script") == 1, "the page's own"
    assert page.text.count(EVIL) > 10


def test_what_was_measured_and_how_to_repeat_it(made: Any) -> None:
    result = comparison(source="my digits.zip")
    page, _ = made(result)
    assert "diffcov compare --run runs/demo --data 'my digits.zip' --steps 5,10,25,50" in page.text
    for word in (
        "549,873",
        "ab12cd34ef56",
        "17 grey levels",
        "256 images",
        "1500 images",
        "seed 0",
        "fid@200 classifier",
    ):
        assert word in page.text, word
    for name, one in result["covariances"].items():
        assert {name, one["summary"], one["formula"], one["reference"]} <= set(page.cells)


@pytest.mark.parametrize(
    ("view", "calls", "words"),
    [
        ({"clip_x0": True, "eps_scale": 1.0, "guidance": 1.0}, 1, ["as predicted", "clipped to the range of the data"]),
        ({"clip_x0": False, "eps_scale": 1.02, "guidance": 1.0}, 1, ["divided in the mean by 1.02", "not clipped"]),
        ({"clip_x0": True, "eps_scale": "fitted", "guidance": 1.0}, 1, ["a number fitted for each cell (compare.csv"]),
        ({"clip_x0": True, "eps_scale": 1.0, "guidance": 2.5}, 2, ["2.5: 2 network calls a step", "as predicted"]),
    ],
    ids=["plain", "scaled", "fitted", "guided"],
)
def test_what_samples_saw_the_mean_through(made: Any, view: dict[str, Any], calls: int, words: list[str]) -> None:
    result = comparison(names=("small",), steps=(10,))
    result["settings"] |= {"view": view, "network_calls_a_look": calls}
    page, _ = made(result)
    for word in words:
        assert word in page.text
    assert ("Guidance" in page.text) == (view["guidance"] != 1)


def test_a_solver_without_a_bound_says_why(made: Any) -> None:
    page, _ = made(comparison())
    assert "No bits/dim for DDIM: its posterior has no variance." in page.text
    assert "No bits/dim for DDPM" not in page.text


def test_size_of_the_largest_usual_report(made: Any) -> None:
    """6 covariances, 2 solvers, 4 steps, of pictures that do not compress: below 3 MB."""
    result = comparison()
    pictures = torch.randint(0, LEVELS, (16, 3, 32, 32), dtype=torch.uint8)
    sheets = {(c["covariance"], c["solver"], c["steps"]): pictures for c in result["cells"]}
    _, text = made(result, sheets)
    assert len(text.encode()) < 3_000_000


# --- what is missing


def test_without_matplotlib(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    page, _ = made(comparison())
    assert "svg" not in {tag for tag, _ in page.tags}
    assert page.text.count("pip install matplotlib") == 1
    assert sum(tag == "img" for tag, _ in page.tags) == len(comparison()["cells"])
    assert "20.200" in page.text


def test_a_covariance_without_any_ratio_is_a_sentence_and_no_table_of_dashes(made: Any) -> None:
    result = comparison(names=("small", "large"), steps=(5, 10))
    small = result["calibration"]["covariances"]["small"]
    whole, _ = made(result)
    small["by_band"] = [[None for _ in row] for row in small["by_band"]]
    page, _ = made(result)
    assert "It predicts that the mean makes no error" in page.text
    assert "It predicts that the mean makes no error" not in whole.text
    tables = [sum(tag == "table" for tag, _ in one.tags) for one in (whole, page)]
    assert tables[0] - tables[1] == 1


def test_missing_values_are_dashes_that_say_why(made: Any) -> None:
    result = comparison(names=("small", "large"), steps=(5, 10))
    for key in ("bits_per_dim", "bits_per_dim_stderr", "fid", "kid", "floor_share"):
        result["cells"][0][key] = None
    result["calibration"]["covariances"]["small"]["by_band"][0] = [None, 0.0, 1.0, 1.0]
    result["calibration"]["covariances"]["small"]["rms_log"] = None
    result["calibration"]["covariances"]["small"]["floor_share"] = [None] * 10
    result["exposure"][0]["sampled"]["small"] = [None] * 5
    page, _ = made(result)
    dashes = [attrs["title"] for tag, attrs in page.tags if tag == "span" and attrs.get("class") == "none"]
    assert page.cells.count("–") == len(dashes)
    assert "large was not measured with DDIM: the two have no meaning together" in dashes
    for start in (
        "not measured, or not",
        "fid was not",
        "no finite positive",
        "no finite ratio",
        "the sampled path of",
    ):
        assert [one for one in dashes if one.startswith(start)], start
    assert "nan" not in page.text.lower()


def test_parts_that_were_not_measured(made: Any) -> None:
    result = comparison(names=("small",), steps=(10,))
    result["real"] = result["calibration"] = None
    result["exposure"] = []
    page, _ = made(result, {})
    assert "the distance of real images was not measured" in page.attribute("title")
    assert "No sample sheets were kept." in page.text
    assert {"calibration", "exposure"} & set(page.attribute("id")) == set()


def test_nothing_at_all(made: Any) -> None:
    result = comparison(names=("small",), steps=(10,))
    for cell in result["cells"]:
        cell["bits_per_dim"] = cell["fid"] = None
    page, _ = made(ranked(result), {})
    assert "Nothing could be measured." in page.text
    assert "No distances were measured for DDIM." in page.text
    assert headline(result) == "Nothing could be measured."


def test_a_result_that_went_through_json_is_the_same(made: Any) -> None:
    result = comparison()
    assert made(json.loads(json.dumps(result)))[1] == made(result)[1]


# --- sample sheets


def pictures(page: Page) -> list[Tensor]:
    """(height, width) or (height, width, 3) of each picture in the page."""
    found = []
    for source in page.attribute("src"):
        with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as image:
            found.append(torch.tensor(np.asarray(image)).long())
    return found


def test_sheets_hold_the_images(made: Any, digits: Tensor) -> None:
    """Two digits with a dark pixel around each, one pixel a pixel; the page enlarges them by a whole factor."""
    result = comparison(names=("small",), steps=(10,), solvers=("ddpm",))
    page, _ = made(result, {("small", "ddpm", 10): digits[:2]})
    (found,) = pictures(page)
    assert found.shape == (10, 19)
    assert torch.equal(found[1:9, 1:9], (digits[0, 0].float() * 255 / 16).round().long())
    assert torch.equal(found[1:9, 10:18], (digits[1, 0].float() * 255 / 16).round().long())
    assert {int(value) for value in torch.cat([found[0], found[9], found[:, 9]])} == {GUTTER}
    (image,) = [attrs for tag, attrs in page.tags if tag == "img"]
    assert (image["width"], image["height"]) == (str(9 * 19), str(9 * 10))


@pytest.mark.parametrize(
    ("count", "shape", "steps", "tiles", "scale"),
    [
        (36, (1, 8, 8), 1, (6, 6), 8),
        (36, (1, 8, 8), 2, (6, 6), 8),
        (36, (1, 8, 8), 4, (6, 6), 4),
        (6, (1, 8, 8), 1, (3, 2), 9),
        (10, (1, 8, 8), 1, (3, 3), 9),
        (50, (3, 64, 64), 2, (7, 7), 1),
        (9, (3, 300, 300), 1, (1, 1), 1),
    ],
)
def test_sheets_use_the_page(
    made: Any, count: int, shape: tuple[int, int, int], steps: int, tiles: tuple[int, int], scale: int
) -> None:
    """Whole rows of nearly a square, enlarged as far as the width allows; no row is ragged."""
    numbers = tuple(10 * (i + 1) for i in range(steps))
    result = comparison(names=("small",), steps=numbers, solvers=("ddpm",))
    sheets = {("small", "ddpm", K): torch.zeros(count, *shape, dtype=torch.uint8) for K in numbers}
    page, _ = made(result, sheets)
    images = [attrs for tag, attrs in page.tags if tag == "img"]
    assert len(images) == steps
    sides = tuple(str(scale * (1 + n * (shape[1] + 1))) for n in tiles)
    assert {(image["width"], image["height"]) for image in images} == {sides}


def test_real_images_stand_above(digits: Tensor) -> None:
    result = comparison(names=("small", "npr"), steps=(5, 10), samplers=("ddim",))
    shown = digits[100:136]
    text = report_page(result, sheets_of(result, digits, 36), LEVELS, sampler_sheets_of(result, digits, 36), shown)
    page = Page(text)
    assert page.text.count("real images") >= 3, "for the samplers and for each solver"
    names = [alt for alt in page.attribute("alt") if alt.startswith(("real", "samples of"))]
    assert names[:4] == [f"real images, beside {K} steps" for K in (5, 10)] + [
        f"samples of ddim, {K} steps" for K in (5, 10)
    ]
    above = pictures(page)[names.index("real images, beside 5 steps")]
    assert torch.equal(above[1:9, 1:9], (shown[0, 0].float() * 255 / 16).round().long())
    assert torch.equal(above[46:54, 46:54], (shown[35, 0].float() * 255 / 16).round().long())
    without = Page(report_page(result, sheets_of(result, digits), LEVELS))
    assert [alt for alt in without.attribute("alt") if alt.startswith("real")] == []


def test_a_sheet_that_is_not_there(made: Any, digits: Tensor) -> None:
    result = comparison(names=("small",), steps=(5, 10), solvers=("ddpm",))
    page, _ = made(result, {("small", "ddpm", 10): digits[:4]})
    assert "no samples of small at 5 steps were kept" in page.attribute("title")


# --- words


def test_a_winner_beyond_the_error_is_named() -> None:
    result = comparison(names=("small", "npr"))
    assert headline(result) == (
        "At 10 steps ddim with small has the lowest Frechet distance (8.500 ± 0.053 over classifier features of 200 "
        "samples); ddpm with small is next, 3.000 ± 0.071 above."
    )
    assert findings(result) == [
        "Lowest Frechet distance of all, or level with it: 5 steps: ddim with small; 10 steps: ddim with small; "
        "25 steps: ddim with small; 50 steps: ddim with small.",
        "DDPM at 10 steps: npr has the lowest bits/dim (2.6010 ± 0.0060); small has the lowest Frechet distance "
        "(11.500 ± 0.051).",
        "Lowest bits/dim or level with it, DDPM: npr at every number of steps.",
        "Lowest Frechet distance or level with it, DDPM: small at every number of steps.",
        "DDIM at 10 steps: small has the lowest Frechet distance (8.500 ± 0.053).",
        "Lowest Frechet distance or level with it, DDIM: small at every number of steps.",
    ]


def test_nobody_wins_within_the_error() -> None:
    """Distances 0.05 apart with errors of 0.05 each; the third is far."""
    result = comparison(names=("small", "npr", "sn"), steps=(10, 50), solvers=("ddpm",))
    for cell, fid in zip((one for one in result["cells"] if one["steps"] == 10), (3.05, 3.0, 4.0), strict=True):
        cell["fid"] = fid
    assert headline(ranked(result)) == (
        "At 10 steps no difference in Frechet distance beyond the error between ddpm with npr and ddpm with small "
        "(3.000 ± 0.051 over classifier features of 200 samples)."
    )
    said = findings(result)
    assert said[0].endswith("10 steps: ddpm with npr and ddpm with small; 50 steps: ddpm with small.")
    assert "no difference in Frechet distance beyond the error between npr and small (3.000 ± 0.051)" in said[1]
    assert said[-1] == "Lowest Frechet distance or level with it, DDPM: npr and small at 10; small at 50 steps."
    close = next(cell for cell in result["cells"] if (cell["covariance"], cell["steps"]) == ("sn", 10))
    close["difference"], close["difference_stderr"] = 0.003, 0.002
    assert "no difference in bits/dim beyond the error between npr and sn (2.6010 ± 0.0060)" in findings(result)[1]
    close["difference_stderr"] = 0.001
    assert "npr has the lowest bits/dim" in findings(result)[1]


def test_many_that_are_level_are_counted() -> None:
    result = comparison(steps=(10,), error=50.0)
    assert headline(result).startswith(
        "At 10 steps no difference in Frechet distance beyond the error between ddim with small, ddim with npr, "
        "ddpm with small and 8 more ("
    )


def test_without_distances_bounds_are_spoken_of() -> None:
    result = comparison(names=("small", "npr"), steps=(7, 100), solvers=("ddpm",))
    for cell in result["cells"]:
        cell["fid"] = None
    assert headline(ranked(result)) == "At 7 steps npr has the lowest bits/dim (2.7724 ± 0.0069)."
    alone = comparison(names=("small",), steps=(10,), solvers=("ddpm",))
    assert headline(alone) == (
        "At 10 steps ddpm with small has a Frechet distance of 11.500 ± 0.050 over classifier features of 200 samples; "
        "nothing else was measured there."
    )


def test_best_values_are_bold(made: Any) -> None:
    result = comparison()
    _, text = made(result)
    bold = re.findall(r'<td class="best">([\d.]+)', text)
    assert len(bold) == 4 + 4 + 4
    assert bold[:4] == ["3.004", "2.604", "2.364", "2.284"]


# --- numbers and markup


def test_numbers_have_sensible_digits() -> None:
    assert decimals([12.3, 3.0], 3) == 2
    assert decimals([0.0, None], 3) == 0
    assert decimals([1e-12], 2) == 6
    assert bearable([0.02, 0.03], [3.0]) == 3
    assert bearable([0.2, None], [3.0]) == 2
    assert bearable([None], [31.4]) == 1
    assert [fixed(-0.414, 2), fixed(-0.0001, 2), fixed(2, 0)] == ["−0.41", "0.00", "2"]
    assert [significant(2.3149), significant(1234.0), significant(0.0)] == ["2.31", "1234", "0"]
    assert [percent(0.0), percent(0.012), percent(0.5)] == ["0 %", "1.2 %", "50 %"]


def test_shade_says_which_side_of_one() -> None:
    assert shade(1.0) is None
    above, below = shade(2.0), shade(0.5)
    assert above is not None
    assert below is not None
    assert above.partition("(")[2].split(",")[3] == below.partition("(")[2].split(",")[3] == " 0.25)"
    assert above != below
    assert str(shade(4.0)).endswith(" 0.5)") and str(shade(400.0)).endswith(" 0.5)")


def test_markup_escapes_once() -> None:
    assert tag("p", "a<b", tag("b", "&"), title='"') == '<p title="&quot;">a&lt;b<b>&amp;</b></p>'
    assert tag("img", alt="x", class_=None) == '<img alt="x">'
    assert join("<", join("<")) == "&lt;&lt;"


def test_every_covariance_of_the_result_has_its_rows(made: Any) -> None:
    page, _ = made(comparison())
    for name in NAMES:
        assert page.cells.count(name) >= 6


# --- samplers


SAMPLERS = ("ddim", "dpmpp-2m", "tuned")


def sampled(digits: Tensor, gone: tuple[str, int] | None = None) -> tuple[dict[str, Any], Page]:
    """A result with samplers, without one cell, and its page."""
    result = comparison(samplers=SAMPLERS)
    cells = result["sampler_cells"]
    result["sampler_cells"] = [cell for cell in cells if (cell["sampler"], cell["steps"]) != gone]
    return result, Page(report_page(result, sheets_of(result, digits), LEVELS, sampler_sheets_of(result, digits)))


def test_samplers_have_a_table_and_sheets(digits: Tensor) -> None:
    result, page = sampled(digits)
    for name in SAMPLERS:
        numbers, pictures = page.row(name)
        told = [cell["fid"] for cell in result["sampler_cells"] if cell["sampler"] == name]
        assert [float(text) for text in numbers[::2]] == pytest.approx(told, rel=1e-2)
        errors = [cell["fid_stderr"] for cell in result["sampler_cells"] if cell["sampler"] == name]
        assert [float(text) for text in numbers[1::2]] == pytest.approx(errors, rel=1e-2)
        assert len(pictures) == len(result["steps"])
        assert {f"samples of {name}, {K} steps" for K in result["steps"]} <= set(page.attribute("alt"))
        assert f"{name}: what {name} stands for" in page.text
    assert "tuned, whatever it is; 10 network calls an image" in page.attribute("title")
    assert "Samplers" in page.words


def test_without_samplers_there_is_no_section(made: Any) -> None:
    assert "Samplers" not in made(comparison())[0].words


def test_a_sampler_that_was_not_measured_somewhere_is_a_dash(digits: Tensor) -> None:
    _, page = sampled(digits, ("tuned", 5))
    numbers, pictures = page.row("tuned")
    assert (numbers[0], pictures[0]) == ("\u2013", "\u2013")
    assert "tuned was not measured at 5 steps" in page.attribute("title")


def test_sampler_sheets_that_are_not_there(digits: Tensor) -> None:
    result = comparison(samplers=SAMPLERS)
    page = Page(report_page(result, sheets_of(result, digits), LEVELS))
    assert "no samples of tuned at 10 steps were kept" in page.attribute("title")


def test_the_headline_names_the_best_sampler_of_all() -> None:
    result = comparison(samplers=SAMPLERS)
    result["sampler_cells"][5]["fid"] = 0.5  # dpmpp-2m at 10 steps
    assert headline(ranked(result)) == (
        "At 10 steps dpmpp-2m has the lowest Frechet distance (0.500 ± 0.075 over classifier features of 200 samples); "
        "ddim is next, 2.63 ± 0.11 above."
    )
    said = findings(result)
    assert said[0].startswith("Lowest Frechet distance of all, or level with it: ")
    assert "; 10 steps: dpmpp-2m; " in said[0]
    result["cells"][0]["fid"] = 0.1
    assert "5 steps: ddpm with small;" in findings(ranked(result))[0], "a covariance is a sampler too"


def test_twenty_samplers_fit(digits: Tensor) -> None:
    """Readable, and small enough to send."""
    result = comparison(samplers=[f"sampler-{i}" for i in range(20)])
    text = report_page(result, sheets_of(result, digits), LEVELS, sampler_sheets_of(result, digits))
    assert len(Page(text).row("sampler-19")) == 2
    assert len(text) < 3_000_000
