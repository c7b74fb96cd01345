"""A comparison on disk: its results, and the folders that it leaves alone."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

from diffcov.errors import OutputError
from diffcov.store.comparison import ComparisonFolder, load_result
from diffcov.store.parts import Part


@pytest.fixture
def folder(tmp_path: Path) -> ComparisonFolder:
    made = ComparisonFolder(tmp_path / "compare", force=False)
    made.save_part("small-ddpm-even2", {}, Part({"norms": torch.ones(2)}, {}))
    return made


def test_json_by_the_standard(folder: ComparisonFolder) -> None:
    path = folder.save_json({"cells": [{"fid": 0.1, "kid": None}], "name": "Ziffern ä"})
    assert path == folder.path / "compare.json"
    assert json.loads(path.read_text(encoding="utf-8")) == {"cells": [{"fid": 0.1, "kid": None}], "name": "Ziffern ä"}
    before = path.read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        folder.save_json({"fid": float("nan")})
    assert path.read_bytes() == before
    assert [found.name for found in folder.path.iterdir() if found.is_file()] == ["compare.json"]


def test_csv_has_a_line_a_cell(folder: ComparisonFolder) -> None:
    cells = [
        {"covariance": "small", "times": [1, 50], "bits_per_dim": 0.1 + 0.2, "fid": None},
        {"covariance": 'odd, "name"', "times": [1], "bits_per_dim": None, "fid": 1e-9},
    ]
    path = folder.save_csv(cells)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [list(row) for row in rows] == [["covariance", "bits_per_dim", "fid"]] * 2
    assert rows[0] == {"covariance": "small", "bits_per_dim": "0.30000000000000004", "fid": ""}
    assert float(rows[0]["bits_per_dim"]) == 0.1 + 0.2, "every digit"
    assert rows[1] == {"covariance": 'odd, "name"', "bits_per_dim": "", "fid": "1e-09"}


def test_results_are_read_back(folder: ComparisonFolder) -> None:
    assert load_result(folder.path) is None
    folder.save_json({"cells": [{"fid": 0.1, "kid": None}]})
    assert load_result(folder.path) == {"cells": [{"fid": 0.1, "kid": None}]}
    assert load_result(folder.path / "nowhere") is None


def test_other_results_lie_beside_it(folder: ComparisonFolder) -> None:
    path = folder.save("report.html", b"<p>")
    assert path == folder.path / "report.html"
    assert path.read_bytes() == b"<p>"


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_of_something_else_stays_as_it_is(folder: ComparisonFolder, tmp_path: Path, force: bool) -> None:
    ComparisonFolder(folder.path, force).check_ours()
    ComparisonFolder(tmp_path / "nowhere", force).check_ours()
    (tmp_path / "empty").mkdir()
    ComparisonFolder(tmp_path / "empty", force).check_ours()
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("years")
    (tmp_path / "a file").write_text("mine")
    for name in ("thesis", "a file"):
        with pytest.raises(OutputError, match=rf"{name} exists and is not a comparison \(no parts/\)"):
            ComparisonFolder(tmp_path / name, force).check_ours()
