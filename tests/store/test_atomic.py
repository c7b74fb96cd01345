"""Files and folders written whole or not at all, and not over something good."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from diffcov.errors import OutputError
from diffcov.store.atomic import HERE, atomic_folder, atomic_write, refuse_existing, write_bytes


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that says "old", alone in its folder."""
    found = tmp_path / "folder" / "mean.safetensors"
    found.parent.mkdir()
    found.write_text("old")
    return found


# --- files


def test_the_old_file_stays_until_the_new_one_is_complete(path: Path) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_missing_folders_are_made(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "deep" / "er" / "a") as temporary:
        temporary.write_text("new")
    assert contents(tmp_path) == {"deep/er/a": "new"}


def test_bytes_are_written_whole_or_not_at_all(path: Path) -> None:
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    write_bytes(path.parent / "deep" / "er" / "a", b"")
    assert contents(path.parent) == {"mean.safetensors": "new", "deep/er/a": ""}
    with pytest.raises(OutputError, match=r"could not write .*; nothing was changed"):
        write_bytes(path / "inside", b"a file is no folder")
    assert path.read_bytes() == b"new"


def test_failure_inside_leaves_the_old_file_and_nothing_else(path: Path) -> None:
    with pytest.raises(RuntimeError, match="mine"), atomic_write(path) as temporary:
        temporary.write_bytes(b"half of the new fi")
        raise RuntimeError("mine")
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_the_temporary_file_is_hidden_and_beside_the_target(path: Path) -> None:
    """A rename is atomic only within one file system."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(b"x")
        assert temporary.parent == path.parent
        assert temporary.name.startswith(".")


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "parent").write_text("a file")
    with (
        pytest.raises(OutputError, match=r"could not write .*a: .*; nothing was changed"),
        atomic_write(tmp_path / "parent" / "a") as temporary,
    ):
        temporary.write_text("new")
    assert contents(tmp_path) == {"parent": "a file"}


def test_refuse_existing(path: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"mean\.safetensors already exists; use --force"):
        refuse_existing(path, force=False)
    with pytest.raises(OutputError, match=r"mean\.safetensors already exists; eat it$"):
        refuse_existing(path, force=False, advice="eat it")
    refuse_existing(path, force=True)
    refuse_existing(tmp_path / "free", force=False)


# --- folders


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


def test_a_folder_that_a_killed_writer_left_is_swept_up(tmp_path: Path) -> None:
    (tmp_path / ".set.tmp").mkdir()
    (tmp_path / ".set.tmp" / "junk").write_text("left")
    fill(tmp_path / "set", "new")
    assert contents(tmp_path) == {"set/a": "new"}


def test_a_writer_killed_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    """The old folder stands aside as .set.old for an instant; the next failure must not delete the only copy."""
    fill(tmp_path / ".set.old", "old")
    with pytest.raises(RuntimeError, match="mine"), atomic_folder(tmp_path / "set"):
        assert contents(tmp_path / "set") == {"a": "old"}, "put back before anything else"
        raise RuntimeError("mine")
    assert contents(tmp_path) == {"set/a": "old"}


def test_what_was_put_back_is_replaced_in_the_end(tmp_path: Path) -> None:
    fill(tmp_path / ".set.old", "old")
    fill(tmp_path / "set", "new")
    assert contents(tmp_path) == {"set/a": "new"}
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_what_stands_aside_goes_if_something_took_its_place(tmp_path: Path) -> None:
    """A writer killed after both renames: the new folder is whole, the old one is litter."""
    fill(tmp_path / "set", "new")
    fill(tmp_path / ".set.old", "old")
    with pytest.raises(RuntimeError, match="mine"), atomic_folder(tmp_path / "set"):
        raise RuntimeError("mine")
    assert contents(tmp_path) == {"set/a": "new"}
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_file_in_the_way_is_replaced_without_a_trace(tmp_path: Path) -> None:
    (tmp_path / "set").write_text("a file")
    fill(tmp_path / "set", "new")
    assert contents(tmp_path) == {"set/a": "new"}


def test_a_file_where_the_parent_should_be(tmp_path: Path) -> None:
    (tmp_path / "parent").write_text("a file")
    with pytest.raises(OutputError, match=r"could not write .*set: .*; nothing was changed"):
        fill(tmp_path / "parent" / "set", "new")
    assert contents(tmp_path) == {"parent": "a file"}


def test_a_temporary_file_of_a_dead_writer_is_swept_up_and_that_of_a_living_one_stays(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = [f".a.{HERE}-{pid}-0.tmp" for pid in (dead.pid, os.getppid())]
    elsewhere = f".a.ffffff-{dead.pid}-0.tmp"
    for name in (*names, elsewhere, f".b.{HERE}-{dead.pid}-0.tmp"):
        (tmp_path / name).write_text("half")
    write_bytes(tmp_path / "a", b"whole")
    assert {one.name for one in tmp_path.iterdir()} == {"a", names[1], elsewhere, f".b.{HERE}-{dead.pid}-0.tmp"}


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a") as first, atomic_write(tmp_path / "a") as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert contents(tmp_path) == {"a": "first"}


def test_what_a_link_leads_to_is_written_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    write_bytes(tmp_path / "disk" / "file", b"old")
    fill(tmp_path / "disk" / "set", "old")
    for name in ("file", "set"):
        (tmp_path / name).symlink_to(tmp_path / "disk" / name)
    for text in ("new", "newer"):
        write_bytes(tmp_path / "file", text.encode())
        fill(tmp_path / "set", text)
        assert contents(tmp_path / "disk") == {"file": text, "set/a": text}
    assert (tmp_path / "file").is_symlink()
    assert (tmp_path / "set").is_symlink()
    assert {one.name for one in tmp_path.iterdir()} == {"disk", "file", "set"}


def test_a_folder_that_came_to_be_meanwhile_is_not_replaced_unasked(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="set already exists; use --force"),
        atomic_folder(tmp_path / "set", replace=False) as folder,
    ):
        (folder / "a").write_text("mine")
        fill(tmp_path / "other", "theirs")
        (tmp_path / "other").rename(tmp_path / "set")
    assert contents(tmp_path) == {"set/a": "theirs"}
    assert [one.name for one in tmp_path.iterdir()] == ["set"]


def test_a_folder_has_one_owner_while_it_is_filled(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "set", "diffcov sample") as folder:
        (folder / "a").write_text("mine")
        with (
            pytest.raises(OutputError, match=rf"set is being written by diffcov sample \(process {os.getpid()} on"),
            atomic_folder(tmp_path / "set"),
        ):
            raise AssertionError("two owners")
    assert contents(tmp_path) == {"set/a": "mine"}
    assert [one.name for one in tmp_path.iterdir()] == ["set"]
