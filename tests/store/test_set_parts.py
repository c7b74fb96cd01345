"""Parts of one set of samples: their names, their pixels, and what is missing."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from diffcov.errors import InputError, OutputError
from diffcov.store import ownership
from diffcov.store.sample_set import load_manifest
from diffcov.store.set_part import SetPart, fill_part, numbers_of, part_name, span, spans
from diffcov.store.set_parts import SetParts

PIXELS = torch.randint(0, 17, (600, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

THROWN_AWAY = r"parts of .*set were thrown away while this job was at work; start it again"


def drawn(parts: SetParts, first: int, count: int) -> SetPart:
    """A part that is complete."""
    numbers = range(first, first + count)
    with ExitStack() as held:
        folder = parts.claim(held, numbers, force=False)
        assert folder is not None
        fill_part(folder, PIXELS[first : first + count].split(100), (1, 4, 4), {"first": first, "count": count})
    return SetPart(parts.folder / part_name(numbers), numbers)


def merge(parts: SetParts, force: bool = False) -> None:
    """Put a set together."""

    def manifest(found: Any) -> dict[str, Any]:
        return {"first": 0, "sampler": {"seed": 0}, "of": [(one["first"], one["count"]) for one in found]}

    parts.merge((1, 4, 4), 17, manifest, None, lambda numbers: None, force)


@pytest.fixture
def parts(tmp_path: Path) -> SetParts:
    """Those of a set of 600 images."""
    return SetParts(tmp_path / "set", 600, {"sampler": {"seed": 0}, "formats": ["npz"]})


@pytest.mark.parametrize("numbers", [range(1), range(7, 12), range(999_000, 1_200_000)])
def test_names_say_the_numbers(numbers: range) -> None:
    assert numbers_of(part_name(numbers)) == numbers


@pytest.mark.parametrize("name", ["set.json", "000000", "0-5", "000000-000005.tmp", ".000000-000005.lock"])
def test_other_names_are_no_parts(name: str) -> None:
    assert numbers_of(name) is None


def test_ranges_in_words() -> None:
    assert [span(range(5, 6)), span(range(5, 8))] == ["5", "5-7"]
    assert spans([]) == "none"
    assert spans([range(3), range(3, 5), range(7, 8)]) == "0-4, 7"


def test_pixels_come_back(parts: SetParts) -> None:
    part = drawn(parts, 0, 600)
    batches = list(part.batches((1, 4, 4)))
    assert [len(batch) for batch in batches] == [256, 256, 88]
    assert torch.equal(torch.cat(batches), PIXELS)
    assert part.manifest() == {"first": 0, "count": 600}
    part.check()


def test_what_is_there_and_what_is_missing(parts: SetParts) -> None:
    assert (parts.there(), parts.missing()) == ([], [range(600)])
    late, early = drawn(parts, 400, 100), drawn(parts, 0, 100)
    assert parts.there() == [early, late]
    assert parts.missing() == [range(100, 400), range(500, 600)]
    drawn(parts, 100, 300)
    drawn(parts, 500, 100)
    assert parts.missing() == []


def test_a_part_that_is_being_drawn_is_in_hand(parts: SetParts) -> None:
    with ExitStack() as held:
        parts.claim(held, range(100), force=False)
        assert list(parts.in_hand()) == [range(100)]
        with pytest.raises(OutputError, match=r"images 50-149 of .*set overlap 0-99, which are being drawn by diffcov"):
            parts.claim(held, range(50, 150), force=False)
        with pytest.raises(
            OutputError, match=r"000000-000099 is being written by diffcov sample --first 0 --count 100"
        ):
            parts.claim(held, range(100), force=False)
    assert parts.in_hand() == {}


def test_nothing_is_left_of_a_first_part_that_failed(parts: SetParts, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), ExitStack() as held:
        held.callback(parts.forget)
        parts.claim(held, range(100), force=False)
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["cut", "gone", "of another shape", "manifest"])
def test_a_damaged_part(parts: SetParts, damage: str) -> None:
    part = drawn(parts, 0, 100)
    shape = (1, 4, 4)
    if damage == "cut":
        (part.path / "pixels.npy").write_bytes((part.path / "pixels.npy").read_bytes()[:-1])
    elif damage == "gone":
        (part.path / "pixels.npy").unlink()
    elif damage == "manifest":
        (part.path / "manifest.json").write_text("{")
    else:
        shape = (3, 4, 4)
    with pytest.raises(InputError, match=r"000000-000099 is damaged \(.*\); remove it, and draw this part again"):
        part.manifest() if damage == "manifest" else list(part.batches(shape))


@pytest.mark.parametrize("changed", ["pixels.npy", "manifest.json"])
def test_a_part_that_has_changed_since_it_was_written(parts: SetParts, changed: str) -> None:
    """A pixel of another grey level has the right shape, and only its digest tells."""
    part = drawn(parts, 0, 600)
    content = bytearray((part.path / changed).read_bytes())
    at = -1 if changed == "pixels.npy" else content.index(b"600")
    content[at] ^= 1
    (part.path / changed).write_bytes(bytes(content))
    told = rf"000000-000599 is damaged \({changed} has changed since it was written\); remove it, and draw this part"
    with pytest.raises(InputError, match=told):
        merge(parts)
    assert not parts.out.exists()


def test_the_pixels_of_a_part_that_are_gone(parts: SetParts) -> None:
    part = drawn(parts, 0, 600)
    (part.path / "pixels.npy").unlink()
    with pytest.raises(InputError, match=r"000000-000599 is damaged \(.*No such file"):
        part.check()


def test_what_they_are_parts_of_is_kept_with_them(parts: SetParts) -> None:
    drawn(parts, 0, 100)
    kept = json.loads((parts.folder / "set.json").read_text())
    assert kept == {"of": 600, "sampler": {"seed": 0}, "formats": ["npz"]}


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_record_that_is_damaged(parts: SetParts, content: str) -> None:
    parts.folder.mkdir()
    (parts.folder / "set.json").write_text(content)
    with pytest.raises(InputError, match=r"set\.json is damaged \(.*\); remove .*set\.parts to begin anew"):
        drawn(parts, 0, 100)


def test_a_folder_that_no_job_has_made_is_not_removed(parts: SetParts) -> None:
    parts.folder.mkdir()
    (parts.folder / "notes.txt").write_text("years")
    with suppress(RuntimeError), ExitStack() as held:
        held.callback(parts.forget)
        parts.claim(held, range(100), force=True)
        raise RuntimeError
    assert (parts.folder / "notes.txt").read_text() == "years"


# --- putting together


def test_parts_that_a_killed_job_left_go_and_the_set_stays(parts: SetParts) -> None:
    """Whether it was killed before it removed them, or on the way; with --force too."""
    for first in (0, 300):
        drawn(parts, first, 300)
    shutil.copytree(parts.folder, parts.out.with_name("copy"))
    merge(parts)
    written = load_manifest(parts.out)
    assert (written["of"], parts.folder.exists()) == ([[0, 300], [300, 300]], False)
    for left in (parts.folder, parts.folder.with_name(".set.parts.removed")):
        for force in (False, True):
            shutil.copytree(parts.out.with_name("copy"), left)
            shutil.rmtree(left / "000000-000299")
            merge(parts, force)
            assert load_manifest(parts.out) == written
            assert sorted(path.name for path in parts.out.parent.iterdir()) == ["copy", "set"]


def test_parts_of_another_set_stay_beside_a_whole_one(parts: SetParts) -> None:
    drawn(parts, 0, 600)
    merge(parts)
    other = SetParts(parts.out, 600, {"sampler": {"seed": 1}, "formats": ["npz"]})
    with ExitStack() as held:
        folder = other.claim(held, range(100), force=True)
        assert folder is not None
        fill_part(folder, [PIXELS[:100]], (1, 4, 4), {"count": 100})
    parts.clear()
    assert [part.numbers for part in other.there()] == [range(100)]
    with pytest.raises(OutputError, match=THROWN_AWAY):
        other.part(range(100, 200))


@pytest.mark.parametrize("left", ["nothing", "half", "another set's"])
def test_a_set_is_never_put_together_of_less_than_all(parts: SetParts, left: str) -> None:
    drawn(parts, 0, 300)
    drawn(parts, 300, 300)
    if left == "another set's":
        (parts.folder / "set.json").write_text("{}")
    else:
        shutil.rmtree(parts.folder / "000000-000299" if left == "half" else parts.folder)
    with pytest.raises(OutputError, match=THROWN_AWAY):
        merge(parts, force=True)
    assert not parts.out.exists()


def test_a_set_that_lacks_a_file_is_not_whole(parts: SetParts) -> None:
    drawn(parts, 0, 600)
    merge(parts)
    assert parts.is_whole()
    (parts.out / "grid.png").unlink()
    assert not parts.is_whole()
    with pytest.raises(OutputError, match=r"set already exists; use --force to replace it"):
        drawn(parts, 0, 600)


def test_parts_that_cannot_be_removed(parts: SetParts, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn(parts, 0, 600)

    def refuse(path: Path, target: Path) -> Path:
        if path != parts.folder:
            return rename(path, target)
        raise OSError(5, "Input/output error")

    rename = Path.rename
    monkeypatch.setattr(Path, "rename", refuse)
    told = r"could not remove .*set\.parts: Input/output error; nothing in it is needed, remove it by hand"
    with pytest.raises(OutputError, match=told):
        merge(parts)
    assert parts.is_whole()


def test_locks_that_killed_jobs_left_go_and_those_that_are_held_stay(parts: SetParts) -> None:
    drawn(parts, 0, 600)
    dead = parts.folder / ".000000-000599.lock"
    dead.touch()
    with ExitStack() as held:
        assert parts.claim(held, range(600), force=False) is None
    assert not dead.exists()
    merge(parts)
    for lock in (parts.out.with_name(".set.merge.lock"), parts.out.with_name(".set.lock")):
        with ownership.owned(lock, "it", "diffcov sample", "wait"):
            parts.clear()
            assert lock.exists()
        lock.touch()
        parts.clear()
        assert not lock.exists()


# --- a file system without locks


def test_without_locks_no_job_touches_what_another_draws(parts: SetParts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one that begins, nor one that fails, nor one that ends."""
    monkeypatch.setattr(ownership, "fcntl", None)
    with ExitStack() as held:
        folder = parts.claim(held, range(100), force=False)
        assert folder is not None
        with pytest.raises(RuntimeError), ExitStack() as other:
            other.callback(parts.forget)
            parts.claim(other, range(100, 200), force=False)
            raise RuntimeError
        drawn(parts, 200, 400)
        fill_part(folder, [PIXELS[:100]], (1, 4, 4), {"first": 0, "count": 100})
    assert [part.numbers for part in parts.there()] == [range(100), range(200, 600)]
    drawn(parts, 100, 100)
    merge(parts)
    assert [path.name for path in parts.out.parent.iterdir()] == ["set"]
