"""Paths with homes, signs and bytes that are no text, devices, and files where folders should be."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import TINY, Cli
from oracles.picture_trees import picture, write_folder


def program(*words: object, cwd: Path, stdout: Any = subprocess.PIPE) -> subprocess.CompletedProcess[bytes]:
    """Run ``diffcov`` as people do: bytes in, bytes out."""
    command = [sys.executable, "-c", "from diffcov.cli.app import main; main()", *map(os.fsencode, map(str, words))]
    return subprocess.run(command, cwd=cwd, stdout=stdout, stderr=subprocess.PIPE, check=False)


# --- homes


def test_a_home_in_options_and_variables(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(work)
    shutil.copytree(write_folder(tmp_path, {f"{n}.png": picture(n) for n in range(9)}), home / "images")
    trained = cli("train-mean", "--run=~/mine", *TINY, "--iterations", 1)
    assert trained.exit_code == 0, trained.stderr
    assert (home / "mine" / "mean.safetensors").is_file()
    drawn = cli("sample", "--steps", 2, "--count", 1, "--out", "~/drawn", env={"DIFFCOV_RUN": "~/mine"})
    assert drawn.exit_code == 0, drawn.stderr
    assert (home / "drawn" / "grid.png").is_file()
    kept = cli("inspect", "~/images", "--sheet", "~/sheet.png", env={"DIFFCOV_IMAGES": "~/kept"})
    assert kept.exit_code == 0, kept.stderr
    assert (home / "sheet.png").is_file()
    assert list((home / "kept").iterdir())
    assert list(work.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ["inspect", "~nosuchuser/x"],
        ["train-mean", "--run", "~nosuchuser/x"],
        ["train-mean", "--data", "~nosuchuser/x"],
        ["sample", "--out", "~nosuchuser/x"],
        ["sample", "--recipe", "~nosuchuser/x"],
        ["evaluate", "--features", "~nosuchuser/x"],
        ["compare", "--samplers", "~nosuchuser/x"],
        ["import", "~nosuchuser/x"],
    ],
    ids=" ".join,
)
def test_an_unknown_home(refused: Callable[..., str], words: list[str]) -> None:
    said = refused(3, *words)
    assert said.startswith("~nosuchuser/x begins with the home ~nosuchuser, which is not known here")


def test_a_name_that_looks_like_a_home(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``~`` is the home, ``./~`` is not; as everywhere else."""
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "~nosuchuser", {f"{n}.png": picture(n) for n in range(9)})
    kept = cli("inspect", "./~nosuchuser", "--sheet", "./~/sheet.png")
    assert kept.exit_code == 0, kept.stderr
    assert (tmp_path / "~" / "sheet.png").is_file()
    trained = cli("train-mean", *TINY, "--iterations", 1, env={"DIFFCOV_RUN": "./~mine"})
    assert trained.exit_code == 0, trained.stderr
    assert (tmp_path / "~mine" / "mean.safetensors").is_file()


# --- names


@pytest.mark.parametrize("name", ["a b", 'it\'s "mine"', "two\nlines", "é猫", "-x"])
def test_names_with_odd_signs(cli: Cli, tmp_path: Path, mean_run: Path, name: str) -> None:
    images = write_folder(tmp_path / name, {f"{label}{name}/0.png": picture(5) for label in "ab"})
    found = cli("inspect", images, "--json")
    assert json.loads(found.stdout)["parts"][0]["class names"] == [f"a{name}", f"b{name}"]
    drawn = cli("sample", "--run", mean_run, "--steps", 2, "--count", 1, "--out", tmp_path / f"out {name}")
    assert drawn.exit_code == 0, drawn.stderr
    assert (tmp_path / f"out {name}" / "manifest.json").is_file()


def test_a_message_stays_on_one_line(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "two\\nlines; give images" in refused(
        3, "train-mean", "--run", tmp_path / "r", "--data", tmp_path / "two\nlines"
    )


@pytest.mark.slow
def test_names_that_are_no_utf8(tmp_path: Path, mean_run: Path) -> None:
    """As data, as a run and as what is written; what is printed has their bytes, JSON names them by escapes."""
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    pictures = {os.fsdecode(b"%c\xff/%d.png" % (label, n)): picture(n) for label in b"ab" for n in range(4)}
    images = write_folder(odd, pictures)
    run = shutil.copytree(mean_run, odd / "run")
    seen = program("inspect", images, "--json", cwd=tmp_path)
    assert seen.returncode == 0, seen.stderr
    assert json.loads(seen.stdout.decode("ascii"))["parts"][0]["class names"] == ["a\udcff", "b\udcff"]
    assert program("inspect", images, cwd=tmp_path).returncode == 0
    drawn = program("sample", "--run", run, "--steps", 2, "--count", 1, "--out", odd / "out", cwd=tmp_path)
    assert drawn.returncode == 0, drawn.stderr
    assert drawn.stdout == os.fsencode(odd / "out" / "grid.png") + b"\n"
    json.loads((odd / "out" / "manifest.json").read_text(encoding="utf-8"))
    training = [*TINY, "--iterations", 1, "--preview-minutes", 0]
    trained = program("train-mean", "--run", odd / "new", "--data", images, *training, cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert b"caf\\xe9" in trained.stderr, "talk names the bytes"
    judged = ["--covariance", "small", "--steps", 2, "--count", 0, "--images", 2]
    for words in (["compare", *judged], ["inspect"]):  # the images are found again by what the run remembers
        again = program(*words, "--run", odd / "new", cwd=tmp_path)
        assert again.returncode == 0, again.stderr
    missing = program("inspect", odd / "gone", cwd=tmp_path)
    assert missing.returncode == 3
    assert missing.stderr.count(b"\n") == 1
    assert b"caf\\xe9/gone" in missing.stderr


# --- devices, and one kind for the other


def test_results_to_a_full_device(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = program("inspect", "digits", "--json", cwd=tmp_path, stdout=full)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert b"No space left on device" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("option", ["--sheet", "--plot"])
def test_a_device_is_never_replaced(refused: Callable[..., str], finished: Path, tmp_path: Path, option: str) -> None:
    link = tmp_path / "full.png"
    link.symlink_to("/dev/full")
    before = Path("/dev/full").stat().st_rdev
    target = "digits" if option == "--sheet" else finished
    said = refused(1, "inspect", target, option, link, "--force")
    assert said == f"could not write {link}: it is no ordinary file; nothing was changed, choose another place"
    assert Path("/dev/full").stat().st_rdev == before


DRAW = ("sample", "--run", "{run}", "--steps", 2, "--count", 1)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["train-mean", "--run", "{file}", *TINY, "--iterations", 1], 1, "could not write {file}"),
        (["train-mean", "--run", "{file}/below", *TINY, "--iterations", 1], 1, "could not write {file}/below"),
        (["sample", "--run", "{file}", "--steps", 2], 3, "{file}"),
        (
            ["sample", "--run", "{run}", "--steps", 2, "--count", 1, "--out", "{file}"],
            1,
            "{file} exists and is not a set",
        ),
        (
            ["sample", "--run", "{run}", "--steps", 2, "--count", 1, "--out", "/dev/full"],
            1,
            "/dev/full exists and is not",
        ),
        ([*DRAW, "--out", "{file}/x"], 1, "could not write {file}/x"),
        (["inspect", "digits", "--sheet", "{folder}"], 1, "{folder} already exists"),
        (["inspect", "digits", "--sheet", "{folder}", "--force"], 1, "could not write {folder}: it is a folder"),
        (["inspect", "digits", "--cache", "{file}"], 0, ""),
        (["inspect", "{images}", "--cache", "{file}"], 1, "could not write {file}"),
        (["inspect", "{folder}"], 3, "there is no image in {folder}"),
        (["inspect", "{file}/below"], 3, "no such file or run: {file}/below"),
        (["train-mean", "--run", "{new}", "--data", "{file}"], 3, "the format of {file} is not known"),
        (["train-mean", "--run", "{new}", "--data", "/dev/full"], 3, "the format of /dev/full is not known"),
        (["import", "{folder}", "--run", "{new}", "--no-check"], 3, "{folder}"),
        (["import", "/dev/full", "--run", "{new}", "--no-check"], 3, "/dev/full"),
    ],
    ids=lambda value: " ".join(map(str, value[:4])) if isinstance(value, list) else "",
)
def test_one_kind_where_the_other_belongs(
    cli: Cli, refused: Callable[..., str], tmp_path: Path, mean_run: Path, words: list[Any], code: int, said: str
) -> None:
    (tmp_path / "file").write_bytes(b"hello")
    (tmp_path / "folder.png").mkdir()
    images = write_folder(tmp_path / "pictures", {f"{n}.png": picture(n) for n in range(3)})
    places = {name: tmp_path / name for name in ("file", "new")}
    places |= {"images": images, "run": mean_run, "folder": tmp_path / "folder.png"}
    filled = [word.format(**places) if isinstance(word, str) else word for word in words]
    if code:
        assert said.format(**places) in refused(code, *filled)
    else:
        assert cli(*filled).exit_code == 0
