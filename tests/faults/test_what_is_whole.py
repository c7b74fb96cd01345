"""What the tests of faults take for whole: they would be worth nothing if a set of two halves passed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from diffcov.errors import InputError
from diffcov.store.seal import sealed
from faults.commands import whole


def set_of(folder: Path, content: str) -> Path:
    folder.mkdir()
    (folder / "classes.txt").write_text(content)
    (folder / "manifest.json").write_text(json.dumps(sealed(folder, {"seconds": 1.0})))
    return folder


def test_a_manifest_is_of_the_files_beside_it(tmp_path: Path) -> None:
    old, new = set_of(tmp_path / "old", "1"), set_of(tmp_path / "new", "2")
    assert len(whole(tmp_path)) == 4
    (old / "manifest.json").rename(new / "manifest.json")
    with pytest.raises(AssertionError, match="manifest"):
        whole(tmp_path)
    (new / "classes.txt").unlink()
    with pytest.raises(InputError):
        whole(tmp_path)
