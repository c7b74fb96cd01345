"""--size and --crop: told once to train-mean, remembered by whatever reads the data after it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conftest import TINY, run_cli
from diffcov.statistics.table import VarianceTable
from diffcov.store import artifact
from diffcov.store.checkpoint import load_mean

Done = Callable[..., Any]
Refused = Callable[..., str]
NETWORK = ["--preset", "digits", *[word for word in TINY if word not in ("--data", "digits")]]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Smooth colour pictures of two sizes."""
    root = tmp_path_factory.mktemp("photographs")
    draw = np.random.default_rng(0)
    for index in range(12):
        small = Image.fromarray(draw.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        small.resize((30, 20) if index % 2 else (16, 28), Image.Resampling.BICUBIC).save(root / f"{index:02}.png")
    return root


@pytest.fixture(scope="module")
def run(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run trained on them at 8x8."""
    path = tmp_path_factory.mktemp("size") / "run"
    result = run_cli("train-mean", "--run", path, "--data", photographs, "--size", 8, *NETWORK, "--iterations", 2)
    assert result.exit_code == 0, result.stderr
    return path


def trained_on(run: Path) -> Any:
    return load_mean(run / "mean.safetensors").data


def measured_on(run: Path) -> Any:
    path = run / "variance.safetensors"
    return artifact.header_values(path, artifact.read_header(path, VarianceTable.kind))["config"]["data"]


def test_it_is_recorded(run: Path) -> None:
    found = trained_on(run)
    assert (found["size"], found["crop"], found["count"]) == (8, "center", 12)


def test_statistics_and_judgements_remember(done: Done, run: Path, tmp_path: Path) -> None:
    own = shutil.copytree(run, tmp_path / "run")
    done("estimate-var", "--run", own, "--samples", 1, "--knots", 2, "--knot-samples", 4)
    assert measured_on(own) == trained_on(own)
    told = done("evaluate", "--run", own, "--covariance", "corrected", "--steps", 2, "--images", 4)
    assert (told["images"]["size"], told["images"]["crop"]) == (8, "center")
    done("fit-var-head", "--run", own, "--kind", "npr", "--iterations", 1, "--batch-size", 4, "--size", 8)
    resumed = done("train-mean", "--run", own, "--resume", "--iterations", 3, "--size", 8)
    assert resumed["settings"]["size"] == 8


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--size", 4], "--size 4 --crop center was asked for, and the mean was trained on images made by --size 8"),
        (["--size", 8, "--crop", "none"], "was trained on images made by --size 8 --crop center, which is remembered"),
    ],
)
def test_another_size_is_refused(refused: Refused, run: Path, words: list[Any], message: str) -> None:
    assert message in refused(3, "estimate-var", "--run", run, *words)


def test_a_size_for_images_that_had_none(refused: Refused, mean_run: Path) -> None:
    message = refused(3, "estimate-var", "--run", mean_run, "--size", 4)
    assert "the mean was trained on images as they are" in message


def test_a_crop_needs_a_size(refused: Refused, mean_run: Path) -> None:
    assert "needs --size N" in refused(2, "estimate-var", "--run", mean_run, "--crop", "none")


def test_resuming_at_another_size_is_refused(refused: Refused, run: Path) -> None:
    assert "cannot change its size 8 -> 4" in refused(
        2, "train-mean", "--run", run, "--resume", "--size", 4, "--iterations", 9
    )


def test_other_images_are_made_alike(done: Done, refused: Refused, run: Path, photographs: Path) -> None:
    words = "evaluate", "--run", run, "--covariance", "small", "--steps", 2, "--images", 4, "--data", photographs
    assert done(*words)["images"]["size"] == 8
    assert done(*words, "--size", 8, "--crop", "none")["images"]["crop"] == "none"
    assert "holds images of 6x6" in refused(3, *words, "--size", 6)


def test_several_sizes_without_a_size_name_it(refused: Refused, photographs: Path, tmp_path: Path) -> None:
    message = refused(3, "train-mean", "--run", tmp_path / "run", "--data", photographs, *NETWORK)
    assert "bring all to one size with --size N" in message
