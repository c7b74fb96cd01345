"""--memory and --cache: where images are while a command runs changes nothing of what it makes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conftest import TINY
from diffcov.store.checkpoint import load_mean

Done = Callable[..., Any]
SMALL = ["--preset", "digits", *TINY]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    draw = np.random.default_rng(0)
    for index in range(24):
        Image.fromarray(draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(root / f"{index:02}.png")
    return root


def test_the_same_mean_table_and_head(cli: Any, done: Done, pictures: Path, tmp_path: Path) -> None:
    places = {"memory": (), "disk": ("--memory", 0), "cache": ("--memory", 0, "--cache", tmp_path / "kept")}
    found = {}
    for name, place in places.items():
        run = tmp_path / name
        words = "train-mean", "--run", run, "--data", pictures, *SMALL, "--iterations", 3, *place
        told = cli(*words).stderr
        assert ("stay on disk" in told) == (name != "memory"), told
        table = done("estimate-var", "--run", run, "--samples", 1, "--knots", 2, "--knot-samples", 3, *place)
        head = done("fit-var-head", "--run", run, "--kind", "npr", "--iterations", 2, "--batch-size", 8, *place)
        mean = load_mean(run / "mean.safetensors")
        report = done("evaluate", "--run", run, "--covariance", "npr", "--steps", 3, "--images", 8, *place)
        digests = {kind: one["digest"] for kind, one in table.items()}
        found[name] = mean.digest, mean.data, digests, report["images"], report["nll"], head["iterations"]
    assert found["memory"] == found["disk"] == found["cache"]
    assert len(list((tmp_path / "kept").iterdir())) == 2, "all of them, and the eight that were judged on"


def test_the_cache_can_be_named_once(done: Done, pictures: Path, tmp_path: Path) -> None:
    words = "train-mean", "--run", tmp_path / "run", "--data", pictures, *SMALL, "--dry-run", "--iterations", 1
    done(*words, env={"DIFFCOV_IMAGES": str(tmp_path / "cache")})
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert not (tmp_path / "run").exists()


def test_large_sets_are_inspected_too(done: Done, pictures: Path) -> None:
    (found,) = done("inspect", pictures)["parts"]
    assert (found["count"], found["duplicates"]) == (24, 0)
    assert found["darkest, mean, brightest"].startswith("0, 12")
