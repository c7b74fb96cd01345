"""What a comparison leaves in its folder: each file once, the same for the same comparison, nothing half-written."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from conftest import listing, strict_json
from diffcov.errors import OutputError
from diffcov.present import comparison as module
from diffcov.present.comparison import why_no_curves, write_comparison
from diffcov.present.picture import comparison_png
from diffcov.present.report import page
from diffcov.store.comparison import ComparisonFolder
from diffcov.store.datasets import load_images
from diffcov.study.compare import Comparison
from oracles.comparison import comparison, sampler_sheets_of, sheets_of

LEVELS = 17


def compared(folder: Path, **shape: Any) -> Comparison:
    """A comparison with sheets of digits, that belongs into a folder."""
    document = comparison(**shape)
    return Comparison(
        document, sheets_of(document, load_images("digits").images), LEVELS, ComparisonFolder(folder, False)
    )


def test_each_result_is_a_file_of_its_own(tmp_path: Path) -> None:
    found = compared(tmp_path / "out")
    paths = write_comparison(found)
    names = {"json": "compare.json", "csv": "compare.csv", "curves": "curves.png", "samples_ddpm": "samples-ddpm.png",
             "samples_ddim": "samples-ddim.png", "report": "report.html"}  # fmt: skip
    assert paths == {kind: str(tmp_path / "out" / name) for kind, name in names.items()}
    assert set(listing(tmp_path)) == {f"out/{name}" for name in names.values()}
    assert strict_json(Path(paths["json"]).read_text(encoding="utf-8")) == found.document
    assert Path(paths["report"]).read_text(encoding="utf-8") == page(found.document, found.sheets, LEVELS)
    with Path(paths["csv"]).open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == len(found.document["cells"])
    with Image.open(paths["samples_ddpm"]) as ddpm, Image.open(paths["samples_ddim"]) as ddim:
        assert ddim.height < ddpm.height, "large has no row there"


def test_the_same_comparison_is_the_same_files(tmp_path: Path) -> None:
    found = compared(tmp_path / "out", steps=(5, 10))
    write_comparison(found)
    before = listing(tmp_path)
    write_comparison(found)
    assert listing(tmp_path) == before


def test_without_samples_there_are_no_sheets(tmp_path: Path) -> None:
    document = comparison(names=("small",), steps=(10,))
    for cell in document["cells"]:
        cell["fid"] = None
    paths = write_comparison(Comparison(document, {}, LEVELS, ComparisonFolder(tmp_path, False)))
    assert set(paths) == {"json", "csv", "curves", "report"}


def test_samplers_are_ranked_at_the_steps_nearest_to_ten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the best covariance of each solver among them; one that was not measured there has no row."""
    rows: dict[str, Any] = {}

    def seen(named: Any, titles: Any, levels: int) -> bytes:
        rows.setdefault(titles[0], list(named))
        return comparison_png(named, titles, levels)

    monkeypatch.setattr(module, "comparison_png", seen)
    document = comparison(names=("small", "npr"), steps=(5, 11), samplers=("ddim", "tuned"))
    gone = [cell for cell in document["sampler_cells"] if (cell["sampler"], cell["steps"]) == ("tuned", 5)]
    document["sampler_cells"].remove(*gone)
    images = load_images("digits").images
    found = Comparison(document, sheets_of(document, images), LEVELS, ComparisonFolder(tmp_path, False),
                       sampler_sheets_of(document, images))  # fmt: skip
    assert write_comparison(found)["samples_samplers"] == str(tmp_path / "samples-samplers.png")
    ranked = rows["11 steps, nearest first"]
    assert {name.split(":")[0] for name in ranked} == {"ddim", "tuned", "ddpm, small", "ddim, small"}
    distances = [float(name.split(": ")[1]) for name in ranked]
    assert distances == sorted(distances)
    assert (tmp_path / "samples-samplers.png").is_file()


def test_a_long_name_takes_the_room_it_needs() -> None:
    digits = load_images("digits").images[:6]
    short, long = (
        Image.open(io.BytesIO(comparison_png({name: [digits]}, ["5 steps"], LEVELS))).size
        for name in ("ddim", "runs/mine/recipes/10.json: 1.234")
    )
    assert long[0] > short[0] + 80
    assert long[1] == short[1]


def test_why_there_are_no_curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = compared(tmp_path, names=("small",), steps=(10,))
    assert why_no_curves(found) is None
    empty = compared(tmp_path, names=("small",), steps=(10,))
    for cell in empty.document["cells"]:
        cell["bits_per_dim"] = cell["fid"] = None
    assert why_no_curves(empty) == "no curves: neither likelihood nor samples were measured"
    assert "curves" not in write_comparison(empty)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert why_no_curves(found) == "no curves: matplotlib is missing; get it with pip install matplotlib"
    assert "curves" not in write_comparison(found)
    assert "pip install" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not (tmp_path / "curves.png").exists()


@pytest.mark.parametrize("name", ["compare.json", "compare.csv", "curves.png", "samples-ddpm.png", "report.html"])
def test_a_place_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine").touch()
    with pytest.raises(OutputError, match=f"could not write .*{name}"):
        write_comparison(compared(tmp_path, names=("small",), steps=(10,)))


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="could not write"):
        write_comparison(compared(tmp_path / "file" / "out", names=("small",), steps=(10,)))
    assert set(listing(tmp_path)) == {"file"}


def test_a_picture_has_a_row_a_method_and_a_panel_a_number_of_steps() -> None:
    digits = load_images("digits").images[:6]
    sizes = {}
    for rows, columns in ((1, 1), (2, 1), (1, 2)):
        named = {f"method {r}": [digits] * columns for r in range(rows)}
        png = comparison_png(named, [f"{K} steps" for K in range(columns)], LEVELS)
        with Image.open(io.BytesIO(png)) as picture:
            assert picture.format == "PNG"
            sizes[rows, columns] = picture.size
    one = sizes[1, 1]
    assert sizes[2, 1][0] == one[0] and sizes[2, 1][1] - one[1] >= 40
    assert sizes[1, 2][1] == one[1] and sizes[1, 2][0] - one[0] >= 6 * 40
