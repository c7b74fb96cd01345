"""The picture of the first minute: drawn with what the package brings, in a run that is the user's to go on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from conftest import strict_json
from diffcov.store.checkpoint import load_mean
from diffcov.store.datasets import load_images
from diffcov.store.run import RunFolder
from diffcov.store.shipped import IMAGES
from diffcov.study.first_picture import MEASURED, PLAIN, SHOWN, TUNED
from diffcov.study.listener import Silent
from diffcov.study.samplers import tuned_recipe

ASSETS = Path(__file__).parents[2] / "src" / "diffcov" / "assets" / "clothes"
COUNT = 66


@pytest.fixture(scope="module")
def drawn(cli: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    run = tmp_path_factory.mktemp("demo") / "clothes"
    result = cli("demo", "--run", run, "--count", COUNT, "--json")
    assert result.exit_code == 0, result.stderr
    return run, result


def test_every_sampler_is_in_the_picture_nearest_first(drawn: tuple[Path, Any]) -> None:
    run, result = drawn
    found = strict_json(result.stdout)
    assert found["picture"] == str(run / "first-picture.png")
    assert (found["steps"], found["count"], found["features"]) == (10, COUNT, "classifier")
    real, *rows = found["rows"]
    assert {row["name"] for row in rows} == {TUNED, *MEASURED, *PLAIN}
    assert [row["fid"] for row in rows] == sorted(row["fid"] for row in rows)
    with Image.open(found["picture"]) as picture:
        picture.load()
        assert picture.height > 6 * 40
        assert picture.width > SHOWN * 40
    assert real["fid"] < rows[-1]["fid"]


def test_the_verdict_is_three_lines_of_these_numbers(drawn: tuple[Path, Any]) -> None:
    _, result = drawn
    best, *others = strict_json(result.stdout)["rows"][1:]
    lines = result.stderr.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("best at 10 steps:"))
    assert best["name"] in lines[start]
    assert f"{best['fid']:.3g} +- {best['fid_stderr']:.2g}" in lines[start]
    level = strict_json(result.stdout)["level"]
    assert level[0] == best["name"]
    assert ("within the error of it" in lines[start]) == (len(level) > 1)
    assert all(name in lines[start] for name in level)
    for line, name in zip(lines[start + 1 : start + 3], sorted(PLAIN), strict=True):
        row = next(one for one in others if one["name"] == name)
        assert line.startswith(
            f"{name} as everybody has it: {row['fid']:.3g}, {row['fid'] / best['fid']:.1f} times as far"
        )


def test_the_covariance_that_was_measured_helps_ddpm(drawn: tuple[Path, Any]) -> None:
    """What the whole program is about, on the mean that it brings."""
    fids = {row["name"]: row["fid"] for row in strict_json(drawn[1].stdout)["rows"]}
    assert fids["DDPM, measured covariance"] < fids["DDPM"]


def test_the_run_is_whole_and_draws_with_its_recipe(drawn: tuple[Path, Any], cli: Any) -> None:
    run, _ = drawn
    mean = load_mean(RunFolder(run).mean)
    assert tuned_recipe(RunFolder(run), mean, 10, 1.0, Silent()) is not None
    shown = cli("inspect", run)
    assert shown.exit_code == 0, shown.stderr
    result = cli("sample", "--run", run, "--steps", 10, "--count", 2)
    assert result.exit_code == 0, result.stderr
    assert "what tune found best at 10 steps" in result.stderr


@pytest.mark.slow
def test_again_draws_and_unpacks_nothing(drawn: tuple[Path, Any], cli: Any) -> None:
    run, first = drawn
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*.safetensors")}
    again = cli("demo", "--run", run, "--count", COUNT, "--json")
    assert strict_json(again.stdout) == strict_json(first.stdout)
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*.safetensors")} == before


def test_another_mean_is_left_alone(trained: Path, cli: Any) -> None:
    before = (trained / "mean.safetensors").read_bytes()
    result = cli("demo", "--run", trained)
    assert result.exit_code == 3
    assert "holds another mean than the one that the package brings" in result.stderr
    assert "--run" in result.stderr
    assert (trained / "mean.safetensors").read_bytes() == before


def test_options_of_the_training_want_it(cli: Any) -> None:
    result = cli("demo", "--iterations", 3, "--force")
    assert result.exit_code == 2
    assert (
        "--iterations, --force is of a training, and without --train nothing is trained; add --train" in result.stderr
    )


def test_what_is_shipped_is_small_and_says_what_it_saw() -> None:
    assert sum(path.stat().st_size for path in ASSETS.rglob("*") if path.is_file()) <= 5_000_000
    mean = load_mean(ASSETS / "mean.safetensors")
    assert mean.training["images_seen"] == mean.training["iterations"] * mean.settings["batch_size"] >= 600_000
    assert mean.training["data"]["digest"] == load_images("clothes").digest()
    assert (ASSETS / IMAGES).is_file()


def test_photographs_are_embedded_with_both_splits() -> None:
    train, test = load_images("clothes"), load_images("clothes", split="test")
    assert (tuple(train.images.shape), tuple(test.images.shape)) == ((3000, 1, 16, 16), (512, 1, 16, 16))
    assert train.classes == test.classes == 10
    seen = {image.numpy().tobytes() for image in train.images}
    assert sum(image.numpy().tobytes() in seen for image in test.images) == 0
