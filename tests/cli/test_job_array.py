"""Jobs that fill one set of samples: whatever their order, it is the set that one call makes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from at_once import at_once
from conftest import TINY, listing
from diffcov.data import DataDescription
from diffcov.engines.scale.search import FittedScale
from diffcov.store import set_parts
from diffcov.store.ownership import owned
from diffcov.store.sample_set import is_sample_set
from diffcov.store.set_parts import SetParts
from diffcov.study.job_array import draw_part
from diffcov.study.listener import Silent
from diffcov.study.requests.draw import SampleRequest

SCALE = FittedScale(1.25, ((1.0, 0.5), (1.2, 0.25)))
FORMATS = ("--format", "folder,npz")


def words(run: Path, out: Path, *more: object) -> list[object]:
    return ["sample", "--run", run, "--covariance", "small", "--steps", 3, "--out", out, "--batch-size", 3, *more]


def part(first: int, count: int = 3, of: int = 12) -> list[object]:
    return ["--first", first, "--count", count, "--of", of]


def images(out: Path) -> dict[str, str]:
    """Every file but the manifest, with a digest of its bytes; an npz by its arrays, as zips know the time."""
    import numpy as np

    found = {name: digest for name, digest in listing(out).items() if name not in ("manifest.json", "samples.npz")}
    if (out / "samples.npz").is_file():
        with np.load(out / "samples.npz") as arrays:
            found |= {name: (arrays[name].shape, arrays[name].tobytes()) for name in arrays}
    return found


@pytest.fixture(scope="session")
def whole(trained: Path, tmp_path_factory: pytest.TempPathFactory, done: Callable[..., Any]) -> Path:
    """The set of one call. Read only."""
    out = tmp_path_factory.mktemp("whole") / "set"
    done(*words(trained, out, "--count", 12, *FORMATS))
    return out


def test_parts_in_any_order_are_the_set_of_one_call(
    done: Callable[..., Any], trained: Path, tmp_path: Path, whole: Path
) -> None:
    out = tmp_path / "set"
    for first, missing in [(9, [[0, 8]]), (0, [[3, 8]]), (6, [[3, 5]])]:
        found = done(*words(trained, out, *FORMATS, *part(first)))
        assert (found["missing"], found["first"], found["count"]) == (missing, first, 3)
        assert found["parts"] == str(tmp_path / "set.parts")
        assert "grid" not in found
        assert not out.exists()
    found = done(*words(trained, out, *FORMATS, *part(3)))
    assert found["grid"] == str(out / "grid.png")
    assert images(out) == images(whole)
    assert [path.name for path in tmp_path.iterdir()] == ["set"], "no part, no lock is left"
    mine, theirs = (json.loads((folder / "manifest.json").read_text()) for folder in (out, whole))
    parts = mine.pop("parts")
    assert [(one["first"], one["count"], one["looks"]) for one in parts] == [(i, 3, 3) for i in (0, 3, 6, 9)]
    assert mine.pop("command") == [str(out) if word == str(whole) else word for word in theirs.pop("command")]
    assert mine.pop("digest") != theirs.pop("digest"), "of the manifests, which say how they were made"
    assert mine == theirs
    assert (mine["first"], mine["count"], mine["looks"]) == (0, 12, 12)


@pytest.mark.parametrize("formats", ["grid", "folder", "npz"])
def test_parts_of_unlike_sizes_and_a_sheet_in_rows(done: Callable[..., Any], tmp_path: Path, formats: str) -> None:
    """With classes: a row of the sheet is a class, and each image has its label."""
    run = tmp_path / "run"
    done("train-mean", "--run", run, *TINY, "--iterations", 1, "--classes")
    given = ["--format", formats, "--class", "0,1,2"]
    done(*words(run, tmp_path / "one", *given, "--count", 7))
    for first, count in ((5, 2), (0, 5)):
        done(*words(run, tmp_path / "parts", *given, *part(first, count, 7)))
    assert images(tmp_path / "parts") == images(tmp_path / "one")


def test_each_job_says_what_is_there_and_what_is_missing(cli: Any, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    first = cli(*words(trained, out, *part(0)))
    assert "of 12 images 0-2 are there, 3-11 are missing" in first.stderr
    assert first.stdout == f"{tmp_path / 'set.parts'}\n"
    assert "of 12 images 0-2, 6-8 are there, 3-5, 9-11 are missing" in cli(*words(trained, out, *part(6))).stderr
    again = cli(*words(trained, out, *part(6)))
    assert again.exit_code == 0
    assert "images 6-8 of 12 are there already; nothing to draw" in again.stderr
    cli(*words(trained, out, *part(3)))
    last = cli(*words(trained, out, *part(9)))
    assert f"all 12 images are there: putting 4 parts together into {out}" in last.stderr
    assert last.stdout == f"{out / 'grid.png'}\n"


def test_a_job_that_is_started_again_finds_its_set_whole(cli: Any, trained: Path, tmp_path: Path) -> None:
    """A scheduler may begin a job anew that had ended well, with --force or without."""
    out = tmp_path / "set"
    for first in (0, 6):
        assert cli(*words(trained, out, *part(first, 6))).exit_code == 0
    before = listing(out)
    for more in ([], ["--force"]):
        again = cli(*words(trained, out, *part(0, 6), *more))
        assert again.exit_code == 0
        assert f"{out} is whole: 12 images" in again.stderr
        assert again.stdout == f"{out / 'grid.png'}\n"
    assert listing(tmp_path) == {f"set/{name}": digest for name, digest in before.items()}


def test_a_set_whose_writing_failed_is_written_by_any_job_again(
    cli: Any, refused: Callable[..., str], trained: Path, tmp_path: Path, whole: Path
) -> None:
    out = tmp_path / "set"
    cli(*words(trained, out, *FORMATS, *part(0, 6)))
    with owned(tmp_path / ".set.lock", "it", "diffcov sample --count 12", "wait"):
        told = cli(*words(trained, out, *FORMATS, *part(6, 6)))
        assert told.exit_code == 1
        said = told.stderr.replace(f" --run {trained}", "")
        assert f"{out} is being written by diffcov sample --count 12 (process {os.getpid()}" in said
    assert [path.name for path in (tmp_path / "set.parts").glob("0*")]
    assert cli(*words(trained, out, *FORMATS, *part(0, 6))).exit_code == 0
    assert images(out) == images(whole)


def test_behind_a_link_all_is_beside_what_it_leads_to(cli: Any, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "set").symlink_to(tmp_path / "disk" / "set")
    out = tmp_path / "set"
    assert cli(*words(trained, out, *part(0, 6))).exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"disk", "set"}
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["set.parts"]
    assert cli(*words(trained, out, *part(6, 6))).exit_code == 0
    assert out.is_symlink()
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["set"]
    assert is_sample_set(tmp_path / "disk" / "set")
    told = cli(*words(trained, out, "--count", 2))
    assert "already exists; use --force" in told.stderr
    assert cli(*words(trained, out, "--count", 2, "--force")).exit_code == 0
    assert out.is_symlink()
    assert json.loads((tmp_path / "disk" / "set" / "manifest.json").read_text())["count"] == 2


def test_what_a_killed_job_left_goes_when_any_job_is_started_again(cli: Any, trained: Path, tmp_path: Path) -> None:
    """One that was killed after it wrote the set: parts, half of them removed, and pieces of a part."""
    out = tmp_path / "set"
    cli(*words(trained, out, *part(0, 6)))
    shutil.copytree(tmp_path / "set.parts", tmp_path / "left")
    piece = tmp_path / ".set.0123456789ab.unfinished" / "parts" / "images-000000000.safetensors"
    piece.parent.mkdir(parents=True)
    piece.touch()
    cli(*words(trained, out, *part(6, 6)))
    before = listing(out)
    for more in ([], ["--force"]):
        shutil.copytree(tmp_path / "left", tmp_path / "set.parts")
        assert cli(*words(trained, out, *part(6, 6), *more)).exit_code == 0
        assert sorted(path.name for path in tmp_path.iterdir()) == ["left", "set"]
    assert listing(out) == before


def test_a_job_tells_what_its_part_was_drawn_with(
    done: Callable[..., Any], trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scale that was fitted, and whatever else is recorded of the part, also by a job that finds it there."""
    run = shutil.copytree(trained, tmp_path / "run")
    monkeypatch.setattr("diffcov.study.scale.fit_scale", lambda *found, **options: SCALE)
    fitted = ["--eps-scale", "fitted", *part(0)]
    first = done(*words(run, tmp_path / "set", *fitted))
    recorded = json.loads((tmp_path / "set.parts" / "000000-000002" / "manifest.json").read_text())
    assert (first["eps_scale_value"], recorded["eps_scale_value"]) == (1.25, 1.25)
    assert {name: first.get(name) for name in recorded if name not in ("files", "digest")} == {
        name: value for name, value in recorded.items() if name not in ("files", "digest")
    }
    again = done(*words(run, tmp_path / "set", *fitted, "--batch-size", 1))
    assert (again["eps_scale_value"], again["batch_size"], again["looks"]) == (1.25, 3, 3)


def test_a_part_is_there_before_what_was_kept_of_it_goes(tmp_path: Path) -> None:
    """A kill between the two costs nothing."""
    parts, found = SetParts(tmp_path / "set", 6, {"sampler": {}, "formats": []}), []

    @contextmanager
    def draw() -> Iterator[tuple[dict[str, Any], Iterator[torch.Tensor]]]:
        yield {"eps_scale_value": 1.0}, iter([torch.zeros(3, 1, 8, 8, dtype=torch.uint8)])
        found.extend(one.numbers for one in parts.there())

    assert draw_part(parts, SampleRequest(count=3, of=6), DataDescription(1, 8, 8, 17), draw, Silent())
    assert found == [range(3)]


# --- refusals, each before an image is drawn


@pytest.fixture
def begun(cli: Any, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A set with its images 0-2 of 12; from here on nothing may be drawn."""
    assert cli(*words(trained, tmp_path / "set", *FORMATS, *part(0))).exit_code == 0

    def never(*arguments: object, **options: object) -> None:
        raise AssertionError("a network call")

    monkeypatch.setattr("diffcov.denoiser.mean_model.MeanModel.output", never)
    return tmp_path / "set"


@pytest.mark.parametrize(
    ("more", "difference"),
    [
        (["--seed", 1], "seed is 0 there and 1 here"),
        (["--steps", 4], r"grid.times is [1, 26, 50] there and [1, 17, 34, 50] here"),
        (["--solver", "ddim"], "solver.name is ddpm there and ddim here"),
        (["--of", 13], "of is 12 there and 13 here"),
        (["--format", "folder"], "formats is ['folder', 'npz'] there and ['folder'] here"),
        (["--no-clip-x0"], "clip_x0 is True there and False here"),
    ],
    ids=lambda value: str(value[0]) if isinstance(value, list) else "",
)
def test_a_part_that_does_not_fit(
    refused: Callable[..., str], trained: Path, begun: Path, more: list[object], difference: str
) -> None:
    formats = [] if "--format" in more else FORMATS
    told = refused(1, *words(trained, begun, *formats, *part(3), *more))
    assert told == (
        f"{begun}.parts holds parts of another set: {difference}; give the options that they have, another --out, or "
        "--force to throw them away"
    )


def test_the_part_of_another_mean(refused: Callable[..., str], stranger: Path, begun: Path) -> None:
    assert "mean is " in refused(1, *words(stranger, begun, *FORMATS, *part(3)))


@pytest.mark.parametrize(("first", "count"), [(2, 3), (0, 2), (0, 4), (1, 1)])
def test_parts_that_overlap(refused: Callable[..., str], trained: Path, begun: Path, first: int, count: int) -> None:
    told = refused(1, *words(trained, begun, *FORMATS, *part(first, count)))
    mine = f"{first}-{first + count - 1}" if count > 1 else first
    assert told == (
        f"images {mine} of {begun} overlap 0-2, which are there already; parts of one set share no image, give another "
        "--first or --count"
    )


def test_a_part_that_somebody_is_drawing(refused: Callable[..., str], trained: Path, begun: Path) -> None:
    lock = begun.with_name("set.parts") / ".000003-000005.lock"
    with owned(lock, "it", "diffcov sample --first 3", "wait"):

        def told_of(*more: object) -> str:
            return refused(1, *words(trained, begun, *FORMATS, *more)).replace(f" --run {trained}", "")

        told = told_of(*part(3))
        assert f"000003-000005 is being written by diffcov sample --first 3 (process {os.getpid()}" in told
        told = told_of(*part(5, 2))
        assert f"images 5-6 of {begun} overlap 3-5, which are being drawn by diffcov sample --first 3 (process" in told
        told = told_of(*part(6), "--seed", 4, "--force")
        assert "seed is 0 there and 4 here; diffcov sample --first 3 (process" in told
        assert "is at work on it: give the options that it has, or another --out" in told


def test_something_else_at_its_place(refused: Callable[..., str], trained: Path, begun: Path) -> None:
    begun.mkdir()
    (begun / "thesis.tex").write_text("years")
    assert "is not a set of samples" in refused(1, *words(trained, begun, *FORMATS, *part(3), "--force"))


def test_a_part_beyond_its_set(refused: Callable[..., str], trained: Path, tmp_path: Path) -> None:
    told = refused(2, *words(trained, tmp_path / "set", *part(9, 4)))
    assert told == "--first 9 --count 4 ends at image 12, and a set --of 12 ends at 11; give a smaller --count"


def test_a_damaged_part_is_named(cli: Any, refused: Callable[..., str], trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    cli(*words(trained, out, *part(0, 6)))
    pixels = tmp_path / "set.parts" / "000000-000005" / "pixels.npy"
    pixels.write_bytes(pixels.read_bytes()[:-1])
    told = cli(*words(trained, out, *part(6, 6)))
    assert told.exit_code == 3
    assert f"{pixels.parent} is damaged (" in told.stderr
    assert "); remove it, and draw this part again" in told.stderr
    assert not out.exists()
    shutil.rmtree(pixels.parent)
    assert cli(*words(trained, out, *part(0, 6))).exit_code == 0
    assert is_sample_set(out)
    (tmp_path / "other.parts").mkdir()
    (tmp_path / "other.parts" / "000000-000005").mkdir()
    told = refused(3, *words(trained, tmp_path / "other", *part(6, 6)))
    assert "other.parts/set.json is damaged (" in told
    assert told.endswith(f"; remove {tmp_path / 'other.parts'} to begin anew")


def test_a_scale_that_was_fitted_otherwise(
    cli: Any, refused: Callable[..., str], trained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "set"
    cli(*words(trained, out, *part(0, 6)))
    manifest = tmp_path / "set.parts" / "000000-000005" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"eps_scale_value": 1.0', '"eps_scale_value": 1.25'))
    told = refused(3, *words(trained, out, *part(6, 6)))
    assert f"{manifest.parent} was drawn with the scale 1.25 of eps_hat, and it is 1.0 here" in told


# --- what is thrown away


def test_force_begins_another_set(cli: Any, trained: Path, begun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    again = cli(*words(trained, begun, *part(3), "--seed", 5, "--force"))
    assert again.exit_code == 0, again.stderr
    assert "of 12 images 3-5 are there, 0-2, 6-11 are missing" in again.stderr


def test_parts_of_this_set_stay_under_force(
    cli: Any, trained: Path, begun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An array of jobs that all say --force would else throw each other's parts away."""
    monkeypatch.undo()
    again = cli(*words(trained, begun, *FORMATS, *part(3), "--force"))
    assert "of 12 images 0-5 are there, 6-11 are missing" in again.stderr


def test_an_old_set_stays_until_the_new_one_is_whole(cli: Any, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    cli(*words(trained, out, "--count", 2))
    before = listing(out)
    assert "already exists; use --force" in cli(*words(trained, out, *part(0, 6))).stderr
    assert cli(*words(trained, out, *part(0, 6), "--force")).exit_code == 0
    assert listing(out) == before
    assert cli(*words(trained, out, *part(6, 6), "--force")).exit_code == 0
    assert json.loads((out / "manifest.json").read_text())["count"] == 12


def test_nothing_is_left_where_the_first_part_failed(
    refused: Callable[..., str], cli: Any, trained: Path, tmp_path: Path, full_disk: Any
) -> None:
    with full_disk(3_000):
        told = refused(1, *words(trained, tmp_path / "set", "--count", 60, "--of", 600))
    assert "could not write" in told
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_job_began_does_not_bind_another_set(
    cli: Any, trained: Path, begun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """set.json stays behind, and a folder half filled: no part, so nothing that another set must fit."""
    monkeypatch.undo()
    parts = begun.with_name("set.parts")
    (parts / "000000-000002").rename(parts / ".000000-000002.tmp")
    (parts / ".000000-000002.lock").touch()
    assert cli(*words(trained, begun, *part(0), "--seed", 9)).exit_code == 0
    assert sorted(path.name for path in parts.iterdir()) == ["000000-000002", "set.json"]


def test_what_a_stopped_job_kept_is_not_thrown_away_unasked(
    cli: Any, refused: Callable[..., str], trained: Path, begun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    parts = begun.with_name("set.parts")
    shutil.rmtree(parts / "000000-000002")
    (parts / ".000000-000002.0123456789ab.unfinished" / "parts").mkdir(parents=True)
    told = refused(1, *words(trained, begun, *FORMATS, *part(3), "--seed", 9))
    assert told.startswith(f"{parts} holds parts of another set: seed is 0 there and 9 here; give the options")
    assert cli(*words(trained, begun, *FORMATS, *part(0))).exit_code == 0
    assert len(list(parts.iterdir())) == 3, "another try of this part may still want them"
    assert cli(*words(trained, begun, *FORMATS, *part(0))).exit_code == 0
    assert sorted(path.name for path in parts.iterdir()) == ["000000-000002", "set.json"]


# --- at the same time


def test_a_job_array_of_four(trained: Path, tmp_path: Path, whole: Path) -> None:
    out = tmp_path / "set"
    codes, told = at_once(*(words(trained, out, *FORMATS, *part(first)) for first in (0, 3, 6, 9)))
    assert codes == [0] * 4, told
    assert images(out) == images(whole)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    assert told.count("putting 4 parts together") >= 1


def test_two_samplings_into_one_folder(trained: Path, tmp_path: Path, whole: Path) -> None:
    """One is refused by the other's name, or comes when that has ended; the set is whole."""
    out = tmp_path / "set"
    codes, told = at_once(*[words(trained, out, *FORMATS, "--count", 12)] * 2)
    assert sorted(codes) == [0, 1], told
    assert "set is being written by diffcov sample --run" in told or "already exists" in told
    assert images(out) == images(whole)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_second_writer_waits_for_the_first_one(
    cli: Any, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path
) -> None:
    """Two jobs that both find all parts there: one writes the set, the other finds it written."""
    out = tmp_path / "set"
    write, entered = set_parts.write_set_alone, []

    def twice(*arguments: Any, **options: Any) -> int:
        if not entered:
            entered.append(
                subprocess.Popen(
                    [sys.executable, "-m", "diffcov", *map(str, words(trained, out, *FORMATS, *part(6, 6)))]
                )
            )
        return write(*arguments, **options)

    monkeypatch.setattr(set_parts, "write_set_alone", twice)
    cli(*words(trained, out, *FORMATS, *part(0, 6)))
    assert cli(*words(trained, out, *FORMATS, *part(6, 6))).exit_code == 0
    assert entered[0].wait(60) == 0
    assert images(out) == images(whole)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
