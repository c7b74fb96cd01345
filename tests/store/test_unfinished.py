"""Pieces of unfinished work: under one owner, gone when the work is done, and when something younger took its place."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

from diffcov.errors import OutputError
from diffcov.store.ownership import owner_of
from diffcov.store.parts import UNFINISHED, Part, PartsFolder
from diffcov.store.unfinished import outlived, unfinished, unfinished_beside

PIECE = Part({"pixels": torch.zeros(2)}, {})


def test_pieces_stay_until_the_work_is_done(tmp_path: Path) -> None:
    folder = unfinished_beside(tmp_path / "set", "0123456789abcdef")
    assert folder == tmp_path / ".set.0123456789ab.unfinished"
    with pytest.raises(ValueError, match="stop"), unfinished(folder, "set", "diffcov sample", "wait") as parts:
        parts.save_part("one", {}, PIECE)
        raise ValueError("stop")
    with unfinished(folder, "set", "diffcov sample", "wait") as parts:
        assert parts.part("one", {}) is not None
    assert not list(tmp_path.iterdir())


def test_a_kill_while_done_pieces_are_removed_leaves_no_half_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = unfinished_beside(tmp_path / "set", "ab" * 32)

    def killed(path: Path, **how: object) -> None:
        if (path / "one.safetensors").is_file():
            (path / "one.safetensors").unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt), unfinished(folder, "set", "diffcov sample", "wait") as parts:
            parts.save_part("one", {}, PIECE)
            parts.save_part("two", {}, PIECE)
    assert [path.name for path in folder.rglob("*.safetensors")] == ["two.safetensors"]
    with pytest.raises(ValueError, match="stop"), unfinished(folder, "set", "diffcov sample", "wait") as parts:
        assert parts.part("two", {}) is None
        raise ValueError("stop")
    assert not list(tmp_path.iterdir()), "whoever comes next removes the rest"


def test_two_owners(tmp_path: Path) -> None:
    folder = unfinished_beside(tmp_path / "set", "ab" * 32)
    with (
        unfinished(folder, "set", "diffcov sample", "wait"),
        pytest.raises(OutputError, match=r"^set is being written by diffcov sample \(process .*\); wait until"),
        unfinished(folder, "set", "diffcov sample", "wait until it has ended"),
    ):
        pass


def test_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "set").symlink_to(tmp_path / "elsewhere")
    assert unfinished_beside(tmp_path / "set", "ab" * 32).name == ".elsewhere.abababababab.unfinished"


@pytest.mark.parametrize("younger", [False, True], ids=["killed while it tidied up", "to replace what is there"])
def test_pieces_that_were_outlived(tmp_path: Path, younger: bool) -> None:
    place, proof = tmp_path / "set", tmp_path / "set" / "manifest.json"
    mine = unfinished_beside(place, "ab" * 32)
    others = [unfinished_beside(tmp_path / name, "ab" * 32) for name in ("sets", "set.v2", "set.abababababab")]
    for folder in (mine, *others):
        PartsFolder(folder, force=True).save_part("one", {}, PIECE)
    outlived(place, proof)
    assert mine.is_dir(), "there is no set yet"
    place.mkdir()
    proof.write_text("{}")
    stamp = (mine / "parts" / "one.safetensors").stat().st_mtime_ns + (-1 if younger else 1) * 10**9
    os.utime(proof, ns=(stamp, stamp))
    outlived(place, proof)
    assert mine.is_dir() == younger
    assert all((other / "parts" / "one.safetensors").is_file() for other in others), "those of other sets"


def test_pieces_that_somebody_works_with_are_not_outlived(tmp_path: Path) -> None:
    place, proof = tmp_path / "set", tmp_path / "set" / "manifest.json"
    folder = unfinished_beside(place, "ab" * 32)
    with pytest.raises(ValueError, match="stop"), unfinished(folder, "set", "diffcov sample", "wait") as parts:
        parts.save_part("one", {}, PIECE)
        place.mkdir()
        proof.write_text("{}")
        younger = (folder / "parts" / "one.safetensors").stat().st_mtime_ns + 10**9
        os.utime(proof, ns=(younger, younger))
        outlived(place, proof)
        assert parts.part("one", {}) is not None
        raise ValueError("stop")
    assert folder.is_dir()
    outlived(place, proof)
    assert not folder.exists(), "nobody works with them any more"


def test_the_lock_is_held_until_the_pieces_are_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise another process could begin in the folder that this one still removes."""
    folder = unfinished_beside(tmp_path / "set", "ab" * 32)
    remove, owners = shutil.rmtree, []

    def removed(path: Path, ignore_errors: bool = False) -> None:
        remove(path, ignore_errors=ignore_errors)
        owners.append(owner_of(folder / "lock"))

    monkeypatch.setattr(shutil, "rmtree", removed)
    with unfinished(folder, "set", "diffcov sample", "wait") as parts:
        parts.save_part("one", {}, PIECE)
    assert owners
    assert all(owner is not None and owner.command == "diffcov sample" for owner in owners)
    assert not folder.exists()


def test_parts_that_were_on_the_way_go_with_the_comparison(tmp_path: Path) -> None:
    parts = PartsFolder(tmp_path, force=False)
    for name in ("whole", f"{UNFINISHED}pieces", f"{UNFINISHED}pass"):
        parts.save_part(name, {}, PIECE)
    parts.drop_part(f"{UNFINISHED}pass")
    parts.drop_part("never there")
    assert parts.part(f"{UNFINISHED}pass", {}) is None
    parts.drop_unfinished()
    assert [path.stem for path in (tmp_path / "parts").iterdir()] == ["whole"]
