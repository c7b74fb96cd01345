"""Every command that opens images says what they are, once; ``inspect`` shows all of it."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conftest import FEW_KNOTS, TINY, Cli
from oracles.picture_trees import picture, write_folder

DIGITS = (
    "data: digits: train 1500, test 297 images of 8x8, 1 channel(s), 17 grey levels; 10 classes (0 to 9) from the "
    "package; test is held out, and never trained on"
)


def pets(root: Path, *splits: str, size: int = 8) -> Path:
    """Colour noise of two classes in each split."""
    rng = np.random.default_rng(0)
    for split in splits:
        for label in ("cat", "dog"):
            for n in range(5):
                path = root / split / label / f"{n}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(path)
    return root


@pytest.mark.parametrize(
    "command",
    [
        ["train-mean", *TINY, "--iterations", 1, "--force"],
        ["estimate-var", "--samples", 1, *FEW_KNOTS, "--force"],
        ["fit-var-head", "--kind", "npr", "--iterations", 1, "--batch-size", 8, "--force"],
        ["evaluate", "--steps", 2, "--metrics", "nll,distances", "--images", 8, "--count", 128, "--features", "pixels"],
        ["trajectory", "--covariance", "small", "--images", 2, "--candidates", 4],
        ["compare", "--covariance", "small", "--steps", 2, "--count", 128, "--images", 8, "--features", "pixels"],
    ],
    ids=lambda words: words[0],
)
def test_every_command_tells_its_images_once(cli: Cli, full_run: Path, command: list[Any]) -> None:
    result = cli(*command, "--run", full_run, "--json")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.splitlines().count(DIGITS) == 1
    assert "data: digits" not in result.stdout
    json.loads(result.stdout)


def test_classes_and_what_is_held_out_are_told_before_training(cli: Cli, tmp_path: Path) -> None:
    path = pets(tmp_path / "pets", "train", "val", "test")
    result = cli("train-mean", "--run", tmp_path / "run", "--data", path, *TINY, "--iterations", 1, "--classes")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.splitlines()[0] == (
        f"data: {path}: train 10, val 10, test 10 images of 8x8, 3 channel(s), 256 grey levels; 2 classes (cat, dog) "
        "from sub-folders; val and test are held out, and never trained on"
    )
    judged = cli("evaluate", "--run", tmp_path / "run", "--steps", 2, "--covariance", "small", "--split", "val")
    assert judged.exit_code == 0, judged.stderr
    trained = json.loads(cli("inspect", tmp_path / "run", "--json").stdout)["parts"][0]
    assert trained["trained on"]["class_names"] == ["cat", "dog"]


def test_a_dropped_alpha_is_remembered(cli: Cli, tmp_path: Path) -> None:
    path = pets(tmp_path / "pets", "train", "test")
    Image.new("RGBA", (8, 8), (1, 2, 3, 4)).save(path / "train" / "cat" / "stray.png")
    words = ["--run", tmp_path / "run", "--data", path, *TINY, "--iterations", 1]
    warned = cli("train-mean", *words, "--dry-run")
    assert f"warning: {path}: 1 of 11 pictures has an alpha channel (train/cat/stray.png)" in warned.stderr
    assert "4 channel(s)" in warned.stderr
    assert cli("train-mean", *words, "--drop-alpha").exit_code == 0
    for command in (
        ["estimate-var", "--samples", 1, *FEW_KNOTS],
        ["fit-var-head", "--kind", "npr", "--iterations", 1, "--batch-size", 8],
        ["train-mean", "--resume", "--iterations", 2],
    ):
        told = cli(*command, "--run", tmp_path / "run")
        assert told.exit_code == 0, told.stderr
        assert "3 channel(s)" in told.stderr
        assert "the alpha channel of 1 of 11 pictures was left out (--drop-alpha)" in told.stderr
    refused = cli("train-mean", *words[:2], "--resume", "--size", 4)
    assert refused.exit_code in (2, 3), refused.stderr


# --- what is tried by the public bug reports of others


def part(done: Callable[..., Any], path: Path, *more: object) -> dict[str, Any]:
    found: dict[str, Any] = done("inspect", path, *more)["parts"][0]
    return found


@pytest.mark.parametrize("root", ["", "pets"], ids=["bare", "wrapped"])
def test_split_folders(done: Callable[..., Any], tmp_path: Path, root: str) -> None:
    splits = ("train", "test") if root else ("train", "val", "test")
    pets(tmp_path / "data" / root, *splits)
    found = part(done, tmp_path / "data")
    assert (found["count"], found["classes"], found["test split"]) == (10, 2, True)
    assert found["splits"] == dict.fromkeys(splits, 10)
    assert (found["class names"], found["images a class"]) == (["cat", "dog"], [5, 5])
    assert (found["labels from"], found["read as"]) == ("sub-folders", "a folder of images")
    assert part(done, pets(tmp_path / "other", "train", "val"))["test split"] is True


@pytest.mark.parametrize(("told", "classes"), [(True, 2), (False, 0)])
def test_edm_zip_labels(done: Callable[..., Any], tmp_path: Path, told: bool, classes: int) -> None:
    names = [f"{i // 10:05d}/img{i:08d}.png" for i in range(40)]
    with zipfile.ZipFile(tmp_path / "edm.zip", "w") as archive:
        for i, name in enumerate(names):
            archive.writestr(name, picture(i))
        pairs = [[name, i % 2] for i, name in enumerate(names)] if told else None
        archive.writestr("dataset.json", json.dumps({"labels": pairs}))
    assert part(done, tmp_path / "edm.zip")["classes"] == classes


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (("x_train", "y_train"), ("x_test", "y_test")),
        (("train_images", "train_labels"), ("test_images", "test_labels")),
    ],
    ids=["keras", "medmnist"],
)
def test_npz_label_column(
    done: Callable[..., Any], tmp_path: Path, train: tuple[str, str], test: tuple[str, str]
) -> None:
    arrays: dict[str, Any] = {}
    for (images, labels), count in ((train, 20), (test, 8)):
        arrays |= {images: np.zeros((count, 8, 8, 3), np.uint8), labels: np.arange(count, dtype=np.uint8)[:, None] % 3}
    np.savez(tmp_path / "a.npz", **arrays)
    found = part(done, tmp_path / "a.npz")
    assert (found["count"], found["classes"], found["test split"]) == (20, 3, True)
    assert found["labels from"] == f"the array {train[1]}"


@pytest.mark.parametrize("links", [["back"], ["back", "again"]], ids=["one", "two"])
def test_symlink_loop(done: Callable[..., Any], tmp_path: Path, links: list[str]) -> None:
    folder = write_folder(tmp_path, {f"{n}.png": picture(n) for n in range(5)})
    for link in links:
        (folder / link).symlink_to(".")
    found = part(done, folder)
    assert found["count"] == 5
    assert found["remarks"] == [f"{len(links)} link(s) to what is there already count once ({sorted(links)[0]})"]


# --- inspect


def test_inspect_shows_a_data_set_and_draws_a_sheet(cli: Cli, tmp_path: Path) -> None:
    path = pets(tmp_path / "pets", "train", "test", size=12)
    sheet = tmp_path / "sheet.png"
    result = cli("inspect", path, "--size", 8, "--sheet", sheet)
    assert result.exit_code == 0, result.stderr
    for words in ("2 (cat, dog)", "sub-folders", "train of train, test", "8x8, 3 channel(s)"):
        assert words in result.stdout
    details = cli("inspect", path, "--size", 8, "--all")
    for words in ("cat, dog", "5, 5", "sub-folders", "train=10, test=10", "8x8, 3 channel(s)"):
        assert words in details.stdout
    with Image.open(io.BytesIO(sheet.read_bytes())) as drawn:
        assert drawn.height == 2 * (42 + 2) + 16
    again = cli("inspect", path, "--sheet", sheet)
    assert again.exit_code == 1
    assert "already exists; use --force to replace it, or another --sheet" in again.stderr
    assert json.loads(cli("inspect", path, "--sheet", sheet, "--force", "--json").stdout)["sheet"] == str(sheet)


@pytest.mark.parametrize("option", [["--sheet", "sheet.png"], ["--size", 4], ["--drop-alpha"]], ids=lambda o: o[0])
def test_what_is_about_images_is_refused_of_a_run(
    refused: Callable[..., str], mean_run: Path, option: list[Any]
) -> None:
    said = refused(2, "inspect", mean_run, *option)
    assert said == (
        f"{option[0]} is about a set of images, and {mean_run} was written by diffcov; leave it out, or inspect the "
        "images"
    )


def test_many_classes_take_one_row(cli: Cli, tmp_path: Path) -> None:
    path = write_folder(tmp_path, {f"class {n:03d}/0.png": picture(n) for n in range(200)})
    result = cli("inspect", path, "--all")
    assert result.exit_code == 0
    assert "… (--json has all)" in result.stdout
    assert "class 196, class 197, class 198, class 199 and 196 more" in cli("inspect", path).stdout
