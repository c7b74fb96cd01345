"""Folders written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffcov.errors import OutputError
from diffcov.io.atomic import atomic_folder


def contents(path: Path) -> dict[str, str]:
    return {str(p.relative_to(path)): p.read_text() for p in sorted(path.rglob("*")) if p.is_file()}


def fill(path: Path, text: str) -> None:
    with atomic_folder(path) as folder:
        (folder / "a").write_text(text)


def test_new_folder_appears_when_complete(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "set"
    with atomic_folder(target) as folder:
        (folder / "a").write_text("1")
        assert not target.exists()
    assert contents(tmp_path) == {"deep/set/a": "1"}


def test_old_folder_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    fill(tmp_path / "set", "old")
    with atomic_folder(tmp_path / "set") as folder:
        (folder / "b").write_text("new")
        assert contents(tmp_path / "set") == {"a": "old"}
    assert contents(tmp_path) == {"set/b": "new"}


def test_failure_keeps_the_old_folder_and_leaves_nothing(tmp_path: Path) -> None:
    fill(tmp_path / "set", "old")
    with pytest.raises(RuntimeError, match="mine"), atomic_folder(tmp_path / "set") as folder:
        (folder / "b").write_text("half")
        raise RuntimeError("mine")
    assert contents(tmp_path) == {"set/a": "old"}


def test_failure_leaves_nothing_new(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="mine"), atomic_folder(tmp_path / "samples" / "set"):
        raise RuntimeError("mine")
    assert contents(tmp_path) == {}
    assert not (tmp_path / "samples" / ".set.tmp").exists()


def test_what_a_killed_writer_left_is_swept_up(tmp_path: Path) -> None:
    (tmp_path / ".set.tmp").mkdir()
    (tmp_path / ".set.tmp" / "junk").write_text("left")
    fill(tmp_path / "set", "new")
    assert contents(tmp_path) == {"set/a": "new"}


def test_a_writer_killed_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    """The old folder stands aside as .set.old for an instant; the next failure must not delete the only copy."""
    fill(tmp_path / ".set.old", "old")
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "set"):
        raise RuntimeError
    assert "old" in contents(tmp_path).values()


def test_a_file_in_the_way_is_replaced_without_a_trace(tmp_path: Path) -> None:
    (tmp_path / "set").write_text("a file")
    fill(tmp_path / "set", "new")
    assert contents(tmp_path) == {"set/a": "new"}


def test_a_file_where_the_parent_should_be(tmp_path: Path) -> None:
    (tmp_path / "parent").write_text("a file")
    with pytest.raises(OutputError, match=r"could not write .*set: .*; nothing was changed"):
        fill(tmp_path / "parent" / "set", "new")
    assert contents(tmp_path) == {"parent": "a file"}
