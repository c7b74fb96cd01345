"""A comparison on disk: parts are read under the settings they were measured with, and refused under others."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from diffcov.errors import InputError, OutputError
from diffcov.store import artifact
from diffcov.store.comparison import ComparisonFolder, Part

SETTINGS = {"seed": 0, "times": (1, 50), "images": {"digest": "ab", "split": "test"}, "fitted": {"npr": {}}}
PART = Part({"norms": torch.tensor([0.5, torch.inf], dtype=torch.float64)}, {"fid": 1.5, "kid": None, "steps": [1, 2]})


@pytest.fixture
def folder(tmp_path: Path) -> ComparisonFolder:
    made = ComparisonFolder(tmp_path / "compare", force=False)
    made.save_part("small-ddpm-even2", SETTINGS, PART)
    return made


def test_a_part_is_what_was_written(folder: ComparisonFolder) -> None:
    found = folder.part("small-ddpm-even2", SETTINGS)
    assert found is not None
    assert found.values == PART.values
    assert torch.equal(found.tensors["norms"], PART.tensors["norms"])
    assert [path.name for path in (folder.path / "parts").iterdir()] == ["small-ddpm-even2.safetensors"]


def test_none_where_nothing_was_measured(folder: ComparisonFolder, tmp_path: Path) -> None:
    assert folder.part("small-ddpm-even5", SETTINGS) is None
    assert ComparisonFolder(tmp_path / "absent", force=False).part("small-ddpm-even2", SETTINGS) is None
    assert not (tmp_path / "absent").exists(), "asking makes no folder"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"seed": 1}, "measured with another seed (0 -> 1)"),
        ({"times": [1, 49]}, "measured with another times ([1, 50] -> [1, 49])"),
        ({"images": {"digest": "cd", "split": "test"}}, "another images"),
        ({"fitted": {"npr": {"head-npr.safetensors": "12"}}}, "another fit of the covariance"),
        ({"count": 70}, "another count (None -> 70)"),
    ],
    ids=["seed", "times", "images", "fitted", "a new one"],
)
def test_other_settings(folder: ComparisonFolder, changed: dict[str, Any], words: str) -> None:
    now = {**SETTINGS, **changed}
    with pytest.raises(OutputError) as caught:
        folder.part("small-ddpm-even2", now)
    message = str(caught.value)
    assert words in message
    assert str(folder.path / "parts" / "small-ddpm-even2.safetensors") in message
    assert "--force" in message
    forced = ComparisonFolder(folder.path, force=True)
    assert forced.part("small-ddpm-even2", now) is None, "to be measured again"
    assert forced.part("small-ddpm-even2", SETTINGS) is not None, "force is for what differs"


def test_a_setting_that_is_gone(folder: ComparisonFolder) -> None:
    now = {key: value for key, value in SETTINGS.items() if key != "seed"}
    with pytest.raises(OutputError, match=r"another seed \(0 -> None\)"):
        folder.part("small-ddpm-even2", now)


def test_a_replaced_part_is_the_new_one(folder: ComparisonFolder) -> None:
    now = {**SETTINGS, "seed": 1}
    folder.save_part("small-ddpm-even2", now, Part({"norms": torch.zeros(1)}, {"fid": 2.5}))
    found = folder.part("small-ddpm-even2", now)
    assert found is not None
    assert found.values == {"fid": 2.5}
    with pytest.raises(OutputError):
        folder.part("small-ddpm-even2", SETTINGS)


def test_damage(folder: ComparisonFolder) -> None:
    path = folder.path / "parts" / "small-ddpm-even2.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="small-ddpm-even2"):
        folder.part("small-ddpm-even2", SETTINGS)
    artifact.write(path, "comparison-part", {"norms": torch.zeros(1)}, {"settings": {}})
    with pytest.raises(InputError, match=r"lacks what this diffcov needs .*values"):
        folder.part("small-ddpm-even2", SETTINGS)
    artifact.write(path, "head", {"norms": torch.zeros(1)}, {"settings": {}, "values": {}})
    with pytest.raises(InputError, match="is a 'head' file"):
        folder.part("small-ddpm-even2", SETTINGS)


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


def test_a_full_disk_keeps_the_earlier_part(folder: ComparisonFolder, full_disk: Any) -> None:
    with full_disk(100), pytest.raises(OutputError, match="could not write"):
        folder.save_part("small-ddpm-even2", {**SETTINGS, "seed": 1}, PART)
    assert folder.part("small-ddpm-even2", SETTINGS) is not None
    assert len(list((folder.path / "parts").iterdir())) == 1
