"""What can be known before work begins is refused before it: no module of any network is called."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn.modules.module import register_module_forward_pre_hook

import diffcov.study.bring
from conftest import FEW_KNOTS, TINY

DRAWN = ("--steps", 2, "--covariance", "small", "--count", 64)
JUDGED = ("--steps", 2, "--covariance", "small", "--images", 4, "--count", 64)


@contextmanager
def counted() -> Iterator[list[str]]:
    """The modules of networks that are called inside, by their classes."""
    calls: list[str] = []
    handle = register_module_forward_pre_hook(lambda module, arguments: calls.append(type(module).__name__))
    try:
        yield calls
    finally:
        handle.remove()


@pytest.fixture
def early(refused: Callable[..., str]) -> Callable[..., str]:
    """``early(code, *args)``: as ``refused``, and no network was called."""

    def run(code: int, *args: object) -> str:
        with counted() as calls:
            message = refused(code, *args)
        assert calls == []
        return message

    return run


@pytest.fixture(scope="session")
def of_pictures(tmp_path_factory: pytest.TempPathFactory, done: Callable[..., Any]) -> Path:
    """A run on pictures with two classes, for whose features a classifier has still to be trained. Read only."""
    folder = tmp_path_factory.mktemp("pictures")
    draw = np.random.default_rng(0)
    for name, brightest in (("dark", 100), ("bright", 256)):
        (folder / "data" / name).mkdir(parents=True)
        for i in range(70):
            pixels = draw.integers(0, brightest, (8, 8)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "data" / name / f"{i}.png")
    done("train-mean", "--run", folder / "run", "--data", folder / "data", *TINY, "--iterations", 1)
    done("estimate-var", "--run", folder / "run", "--samples", 1, *FEW_KNOTS)
    return folder / "run"


def test_the_counter_counts(cli: Any, mean_run: Path) -> None:
    with counted() as calls:
        assert cli("sample", "--run", mean_run, "--steps", 2, "--covariance", "small", "--count", 1).exit_code == 0
    assert calls.count("UNet") == 2


# --- where nothing can be written


@pytest.mark.parametrize(
    "words",
    [
        ("sample", *DRAWN, "--out"),
        ("sample", "--steps", 50, "--covariance", "small", "--count", 100_000, "--out"),
        ("sample", *DRAWN, "--eps-scale", "fitted", "--out"),
        ("sample", *DRAWN, "--of", 640, "--out"),
        ("compare", *JUDGED, "--out"),
        ("export", "--covariance", "small", "--out"),
    ],
    ids=lambda words: " ".join(map(str, words)),
)
def test_a_file_stands_where_a_folder_should_be(
    early: Callable[..., str], mean_run: Path, tmp_path: Path, words: tuple[object, ...]
) -> None:
    (tmp_path / "file").write_text("mine")
    told = early(1, *words, tmp_path / "file" / "out", "--run", mean_run)
    assert f"{tmp_path / 'file'} is no folder; nothing was changed, choose another place" in told


@pytest.mark.parametrize(
    "words",
    [("inspect", "digits", "--sheet"), ("inspect", "digits", "--plot")],
    ids=lambda words: " ".join(map(str, words)),
)
def test_a_picture_inside_of_a_file(early: Callable[..., str], tmp_path: Path, words: tuple[object, ...]) -> None:
    (tmp_path / "file").write_text("mine")
    assert f"{tmp_path / 'file'} is no folder" in early(1, *words, tmp_path / "file" / "sheet.png")


@pytest.mark.skipif(os.geteuid() == 0, reason="all is root's to write")
def test_a_folder_of_somebody_else(early: Callable[..., str], mean_run: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o500)
    told = early(1, "sample", "--run", mean_run, *DRAWN, "--out", tmp_path / "theirs" / "set")
    assert f"{tmp_path / 'theirs'} is not yours to write" in told


# --- distances: before a classifier is trained and the data's features are taken


@pytest.mark.parametrize("command", ["evaluate", "compare", "tune"])
@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--reference", "nope.npz"], 3, "no such file: nope.npz; --reference takes an npz with mu and sigma"),
        (["--count", 63], 2, "a Frechet distance in 64 dimensions needs at least 64 samples, found 63"),
    ],
    ids=["reference", "count"],
)
def test_distances(
    early: Callable[..., str], of_pictures: Path, command: str, words: list[object], code: int, message: str
) -> None:
    given = {
        "evaluate": [*JUDGED, "--metrics", "nll,distances"],
        "compare": [*JUDGED, "--solver", "ddpm"],
        "tune": ["--steps", 2, "--count", 64, "--few", 16],
    }[command]
    if command == "tune" and "--count" in words:
        pytest.skip("its --count is at least 64 by the parser")
    assert message in early(code, command, "--run", of_pictures, *given, *words)
    assert not (of_pictures / "classifier.safetensors").exists()


def test_a_reference_of_other_features(early: Callable[..., str], of_pictures: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "inception.npz", mu=np.zeros(2048), sigma=np.eye(2048))
    words = [*JUDGED, "--metrics", "nll,distances", "--reference", tmp_path / "inception.npz"]
    told = early(3, "evaluate", "--run", of_pictures, *words)
    assert "holds mu (2048,) and sigma (2048, 2048), but classifier has 64 features" in told


@pytest.mark.parametrize("name", ["nope", "nope.json"])
def test_a_sampler_that_does_not_exist(early: Callable[..., str], of_pictures: Path, name: str) -> None:
    told = early(2, "compare", "--run", of_pictures, *JUDGED, "--solver", "ddpm", "--samplers", name)
    assert f"{name} is no recipe and no file" in told


def test_fewer_images_than_dimensions(early: Callable[..., str], cli: Any, tmp_path: Path) -> None:
    """Of the data this time."""
    draw = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(20):
            Image.fromarray(draw.integers(0, 256, (8, 8)).astype(np.uint8)).save(tmp_path / "data" / name / f"{i}.png")
    assert (
        cli("train-mean", "--run", tmp_path / "run", "--data", tmp_path / "data", *TINY, "--iterations", 1).exit_code
        == 0
    )
    told = early(2, "evaluate", "--run", tmp_path / "run", *JUDGED, "--metrics", "nll,distances")
    assert "needs at least 64 images of data, found 40" in told


# --- options that this mean, or this run, does not allow


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["sample", "--steps", 51], 2, "steps must be between 1 and T=50"),
        (["sample", "--grid", "1,60"], 2, "times must be in 1..T=50, found 60"),
        (["sample", "--guidance", 2], 2, "guidance needs a mean with classes"),
        (["sample", "--class", 1], 2, "this mean knows no classes"),
        (["sample", "--recipe", "nope"], 2, "nope is no recipe and no file"),
        (["evaluate", "--steps", 51], 2, "steps must be between 1 and T=50"),
        (["evaluate", "--metrics", "nll", "--solver", "ddim"], 2, "ddim has no bound on the likelihood"),
        (["evaluate", "--metrics", "distances,nll", "--features", "nope.pt"], 2, "is no feature space and no file"),
        (["evaluate", "--data", "nope"], 3, "no such file or folder: nope"),
        (["compare", "--steps", "2,51"], 2, "steps must be between 1 and T=50"),
        (["compare", "--split", "val"], 3, "digits has no val split"),
        (["compare", "--covariance", "ocm"], 3, "the ocm covariance needs a fitted head"),
        (["tune", "--steps", "2,51"], 2, "steps must be between 1 and T=50"),
        (["tune", "--steps", 2, "--covariance", "npr"], 3, "the npr covariance needs a fitted head"),
        (["trajectory", "--candidates", 51], 2, "--candidates must be at most T=50"),
        (["trajectory", "--covariance", "npr"], 3, "the npr covariance needs a fitted head"),
        (["estimate-var", "--steps", 51], 2, "steps must be between 1 and T=50"),
        (["estimate-var", "--guidance", 2], 2, "guidance needs a mean with classes"),
        (["estimate-var", "--add"], 3, "holds no statistics to add to"),
        (["fit-var-head", "--kind", "npr"], 3, "a npr head fitted by likelihood starts from a variance table"),
        (["fit-var-head", "--kind", "sn", "--guidance", 2], 2, "guidance needs a mean with classes"),
        (["fit-var-head", "--kind", "banded", "--loss", "squared"], 2, "is fitted by likelihood, not by squared"),
        (["fit-var-head", "--kind", "sn", "--limit", 1], 3, "takes at least 2 and found 1"),
        (["train-mean", "--force", "--accumulate", 200, "--batch-size", 8], 2, "cannot be cut into --accumulate 200"),
        (["train-mean", "--force", "--data", "nope"], 3, "no such file or folder"),
        (["train-mean"], 1, "mean.safetensors already exists"),
        (["export", "--out", "there", "--covariance", "npr"], 3, "the npr covariance needs a fitted head"),
        (["export", "--out", "there", "--grid", "1,60"], 2, "times must be in 1..T=50, found 60"),
        (["import", "nope"], 1, "mean.safetensors already exists"),
        (["import", "nope", "--force", "--no-check"], 3, "there is nothing at nope"),
        (["demo", "--count", 3], 2, "needs at least 64 samples, found 3"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_options(early: Callable[..., str], mean_run: Path, words: list[object], code: int, message: str) -> None:
    assert message in early(code, words[0], "--run", mean_run, *words[1:])


def test_a_comparison_of_other_settings(early: Callable[..., str], cli: Any, mean_run: Path) -> None:
    """Known from the parts that are there, before the features of all images."""
    words = ["compare", "--run", mean_run, *JUDGED, "--solver", "ddpm", "--samplers", "none"]
    made = cli(*words)
    assert made.exit_code == 0, made.stderr
    for more, other in (
        (["--seed", 1], "another seed (0 -> 1)"),
        (["--images", 5], "another count of the images (4 -> 5)"),
    ):
        assert f"was measured with {other}; use --force" in early(1, *words, *more)


def test_a_recipe_of_other_settings(early: Callable[..., str], cli: Any, of_pictures: Path, tmp_path: Path) -> None:
    """Known from its file, before the features of all images."""
    words = ["tune", "--run", of_pictures, "--steps", 2, "--minutes", 0.001, "--features", "spectrum", "--no-starts"]
    made = cli(*words, "--count", 64, "--few", 16)
    assert made.exit_code == 0, made.stderr
    assert "was tuned with another count" in early(1, *words, "--count", 70, "--few", 16)
    (of_pictures / "recipes" / "2.json").unlink()


def test_a_kind_of_head_where_there_is_none(early: Callable[..., str], mean_run: Path, tmp_path: Path) -> None:
    """Known from the file, before the model is tried on images."""
    torch.save(load_file(mean_run / "mean.safetensors"), tmp_path / "model.pth")
    reading = ["--schedule", "linear", "--timesteps", 50, "--time-offset", 1, "--time-scale", 20, "--data", "digits"]
    words = ["import", tmp_path / "model.pth", "--run", tmp_path / "new", *reading]
    assert "--head npr was given, and" in early(2, *words, "--head", "npr")


def test_an_export_needs_its_library(
    refused: Callable[..., str], full_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is an extra: one sentence, before anything is read."""
    monkeypatch.setitem(sys.modules, "diffusers", None)
    told = refused(3, "export", "--run", full_run, "--covariance", "spectral", "--out", tmp_path / "out")
    assert told.startswith("a folder that diffusers loads is written with diffusers, which cannot be imported (")
    assert told.endswith("install it with: pip install diffusers")
    assert not (tmp_path / "out").exists()


def test_what_is_not_there_is_said_before_images_are_read(
    refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diffcov.study.bring, "load_images", lambda *what, **how: pytest.fail("images were read"))
    told = refused(3, "import", tmp_path / "nowhere", "--data", "digits", "--run", tmp_path / "run")
    assert told.startswith(f"there is nothing at {tmp_path / 'nowhere'}; give ")
