"""A sample set: sheet, images, manifest; all or nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from diffcov.errors import InputError, OutputError
from diffcov.store.images import contact_sheet, stretch
from diffcov.store.sample_set import (
    SHEET_LIMIT,
    is_sample_set,
    load_manifest,
    refuse_existing_set,
    write_sample_set,
    write_sheet,
)

PIXELS = torch.randint(0, 17, (7, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
BATCHES = PIXELS.split(3)


def sealed_by_hand(path: Path, manifest: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """What the manifest of a set says, by hashlib and json alone."""
    files = {name: hashlib.sha256((path / name).read_bytes()).hexdigest() for name in names}
    told = {**manifest, "files": files}
    return {**told, "digest": hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()}


def written(path: Path, formats: list[str], first: int = 0) -> list[str]:
    assert write_sample_set(path, iter(BATCHES), 17, formats, first, {"seed": 5}) == 7
    return sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file())


def test_grid_and_manifest_are_always_there(tmp_path: Path) -> None:
    path = tmp_path / "new" / "set"
    assert written(path, []) == written(path, ["grid"]) == ["grid.png", "manifest.json"]
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest == sealed_by_hand(path, {"seed": 5, "count": 7}, ["grid.png"])
    with Image.open(path / "grid.png") as grid:
        assert np.array_equal(np.asarray(grid), contact_sheet(PIXELS, 17)[0].numpy())
    assert [p.name for p in path.parent.iterdir()] == ["set"]


def test_folder_is_numbered_over_batches_from_first(tmp_path: Path) -> None:
    names = written(tmp_path / "set", ["folder"], first=40)
    assert names == ["grid.png", *(f"images/{i:06d}.png" for i in range(40, 47)), "manifest.json"]
    for i, image in enumerate(PIXELS, start=40):
        with Image.open(tmp_path / "set" / "images" / f"{i:06d}.png") as found:
            assert np.array_equal(np.asarray(found), stretch(image, 17)[0].numpy())


def test_npz_holds_every_batch(tmp_path: Path) -> None:
    assert written(tmp_path / "set", ["npz"]) == ["grid.png", "manifest.json", "samples.npz"]
    with np.load(tmp_path / "set" / "samples.npz") as found:
        assert np.array_equal(found["arr_0"], PIXELS.permute(0, 2, 3, 1).numpy())


def test_formats_together(tmp_path: Path) -> None:
    assert len(written(tmp_path / "set", ["grid", "folder", "npz"])) == 2 + 7 + 1


def test_the_sheet_stops_at_its_limit(tmp_path: Path) -> None:
    many = torch.randint(0, 17, (SHEET_LIMIT + 20, 1, 8, 8), dtype=torch.uint8)
    write_sample_set(tmp_path / "set", many.split(64), 17, [], 0, {})
    with Image.open(tmp_path / "set" / "grid.png") as grid:
        assert np.array_equal(np.asarray(grid), contact_sheet(many[:SHEET_LIMIT], 17)[0].numpy())
    assert json.loads((tmp_path / "set" / "manifest.json").read_text())["count"] == len(many)


def sheet(path: Path, pixels: Tensor, first: int, rows: int | None) -> Tensor:
    """The pixels of grid.png."""
    write_sample_set(path, pixels.split(3), 17, ["npz"], first, {}, rows)
    with Image.open(path / "grid.png") as grid:
        return torch.from_numpy(np.asarray(grid).copy())


@pytest.mark.parametrize(("first", "rows", "order"), [
    (0, 3, [0, 3, 6, 1, 4, -1, 2, 5, -1]),
    (1, 3, [2, 5, -1, 0, 3, 6, 1, 4, -1]),
    (0, 2, [0, 2, 4, 6, 1, 3, 5, -1]),
    (0, 7, [0, 1, 2, 3, 4, 5, 6]),
    (40, 1, [0, 1, 2, 3, 4, 5, 6]),
])  # fmt: skip
def test_a_sheet_in_rows_shows_a_class_a_row(tmp_path: Path, first: int, rows: int, order: list[int]) -> None:
    """Image number i in row i modulo their number, a short row ending in black; the files keep their order."""
    found = sheet(tmp_path / "set", PIXELS, first, rows)
    padded = torch.cat([PIXELS, torch.zeros_like(PIXELS[:1])])  # -1 is black
    expected = contact_sheet(padded[torch.tensor(order)], 17, columns=len(order) // rows)[0]
    assert torch.equal(found, expected)
    with np.load(tmp_path / "set" / "samples.npz") as kept:
        assert np.array_equal(kept["arr_0"], PIXELS.permute(0, 2, 3, 1).numpy())


@pytest.mark.parametrize("rows", [None, 8, 100])
def test_a_sheet_without_rows_or_with_more_than_images_is_as_square_as_it_can_be(
    tmp_path: Path, rows: int | None
) -> None:
    assert torch.equal(sheet(tmp_path / "set", PIXELS, 0, rows), contact_sheet(PIXELS, 17)[0])


def test_a_sheet_alone(tmp_path: Path) -> None:
    write_sheet(tmp_path / "new" / "one.png", PIXELS, 17)
    with Image.open(tmp_path / "new" / "one.png") as grid:
        assert np.array_equal(np.asarray(grid), contact_sheet(PIXELS, 17)[0].numpy())
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["one.png"]


def test_a_set_is_known_by_its_manifest(tmp_path: Path) -> None:
    written(tmp_path / "set", [])
    assert is_sample_set(tmp_path / "set")
    assert not is_sample_set(tmp_path)
    assert not is_sample_set(tmp_path / "nowhere")
    assert load_manifest(tmp_path / "set") == sealed_by_hand(tmp_path / "set", {"seed": 5, "count": 7}, ["grid.png"])
    (tmp_path / "set" / "manifest.json").write_text('{"seed": ')
    with pytest.raises(InputError, match=r"manifest\.json is not JSON .*; make the samples again"):
        load_manifest(tmp_path / "set")


def test_an_existing_set_is_replaced_whole(tmp_path: Path) -> None:
    written(tmp_path / "set", ["folder", "npz"])
    assert written(tmp_path / "set", []) == ["grid.png", "manifest.json"]
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def failing() -> Iterator[Tensor]:
    yield BATCHES[0]
    raise RuntimeError("the network broke")


def test_failure_between_batches_leaves_the_old_set(tmp_path: Path) -> None:
    before = written(tmp_path / "set", ["npz"])
    with pytest.raises(RuntimeError, match="the network broke"):
        write_sample_set(tmp_path / "set", failing(), 17, ["folder"], 0, {})
    assert sorted(p.name for p in (tmp_path / "set").iterdir()) == before
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_full_disk(tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]]) -> None:
    before = written(tmp_path / "set", [])
    noise = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    with full_disk(10_000), pytest.raises(OutputError, match=r"could not write .*set: .*; nothing was changed"):
        write_sample_set(tmp_path / "set", [noise], 256, ["npz"], 0, {})
    assert sorted(p.name for p in (tmp_path / "set").iterdir()) == before
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


# --- what may be replaced


def test_nothing_is_no_obstacle(tmp_path: Path) -> None:
    for force in (False, True):
        refuse_existing_set(tmp_path / "free", force)


@pytest.mark.parametrize("name", ["set", "empty"])
def test_a_set_or_an_empty_folder_is_replaced_if_forced(tmp_path: Path, name: str) -> None:
    if name == "set":
        written(tmp_path / name, [])
    else:
        (tmp_path / name).mkdir()
    with pytest.raises(OutputError, match=rf"{name} already exists; use --force to replace it, or another --out"):
        refuse_existing_set(tmp_path / name, force=False)
    refuse_existing_set(tmp_path / name, force=True)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("name", ["thesis", "a file", "half a set"])
def test_anything_else_stays_whatever_was_said(tmp_path: Path, name: str, force: bool) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("years")
    (tmp_path / "a file").write_text("mine")
    written(tmp_path / "half a set", [])
    (tmp_path / "half a set" / "manifest.json").unlink()
    with pytest.raises(OutputError, match=rf"{name} exists and is not a set of samples \(no manifest\.json\)"):
        refuse_existing_set(tmp_path / name, force)
