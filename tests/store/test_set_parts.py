"""Parts of one set of samples: their names, their pixels, and what is missing."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from diffcov.errors import InputError, OutputError
from diffcov.store.set_part import SetPart, fill_part, numbers_of, part_name, span, spans
from diffcov.store.set_parts import SetParts

PIXELS = torch.randint(0, 17, (600, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def drawn(parts: SetParts, first: int, count: int) -> SetPart:
    """A part that is complete."""
    numbers = range(first, first + count)
    with ExitStack() as held:
        folder = parts.claim(held, numbers, force=False)
        assert folder is not None
        fill_part(folder, PIXELS[first : first + count].split(100), (1, 4, 4), {"first": first, "count": count})
    return SetPart(parts.folder / part_name(numbers), numbers)


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


def test_what_they_are_parts_of_is_kept_with_them(parts: SetParts) -> None:
    drawn(parts, 0, 100)
    kept = json.loads((parts.folder / "set.json").read_text())
    assert kept == {"of": 600, "sampler": {"seed": 0}, "formats": ["npz"]}
