"""A run that the version before wrote: it opens, gives the same numbers under its own noise, and its training goes on.

``assets/run-of-before`` is a small run of the digits (T = 50, 400 iterations) with every statistic and head, and
``expected-of-before.json`` what that version drew, measured and trained with it on one thread.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from oracles.offered import OF_ANY_MEAN

ASSETS = Path(__file__).parent / "assets"
EXPECTED: dict[str, Any] = json.loads((ASSETS / "expected-of-before.json").read_text(encoding="utf-8"))
ONE_LEVEL = 1
"""Another machine may round a value that lies between two grey levels the other way."""

Done = Callable[..., Any]


@pytest.fixture
def before(tmp_path: Path) -> Path:
    return shutil.copytree(ASSETS / "run-of-before", tmp_path / "run")


def drawn(done: Done, run: Path, *options: object) -> np.ndarray:
    made = done("sample", "--run", run, "--count", 3, "--steps", 5, "--format", "npz", "--noise", 1, *options)
    pixels: np.ndarray = np.load(Path(made["out"]) / "samples.npz")["arr_0"].reshape(3, -1).astype(int)
    return pixels


def assert_same_pixels(found: np.ndarray, expected: list[list[int]]) -> None:
    off = np.abs(found - np.array(expected))
    assert off.max() <= ONE_LEVEL
    assert (off > 0).mean() < 0.01


def sums(path: Path) -> dict[str, float]:
    """The sum of absolute values of each tensor of a file."""
    return {name: float(tensor.double().abs().sum()) for name, tensor in load_file(path).items()}


def test_the_expected_samples_tell_covariances_and_scales_apart() -> None:
    drawn = [np.array(pixels) for pixels in (*EXPECTED["samples"].values(), EXPECTED["ddim"], EXPECTED["optimal"])]
    for one, other in combinations(drawn, 2):
        assert (one != other).mean() > 0.05
    assert (np.array(EXPECTED["ddim"]) != np.array(EXPECTED["ddim, scale 1.05"])).mean() > 0.4


@pytest.mark.parametrize("name", OF_ANY_MEAN)
def test_samples_are_the_same(before: Path, done: Done, name: str) -> None:
    assert_same_pixels(drawn(done, before, "--covariance", name), EXPECTED["samples"][name])


def test_old_names_of_options_and_optimal_times_still_work(before: Path, done: Done) -> None:
    scaled = ("--covariance", "corrected", "--process", "ddim", "--eps-scale", "1.05")
    assert_same_pixels(drawn(done, before, *scaled), EXPECTED["ddim, scale 1.05"])
    assert_same_pixels(drawn(done, before, *scaled[:4]), EXPECTED["ddim"])
    optimal = ("--covariance", "corrected", "--trajectory", "optimal")
    assert_same_pixels(drawn(done, before, *optimal), EXPECTED["optimal"])


def test_bounds_are_the_same(before: Path, done: Done) -> None:
    found = done("evaluate", "--run", before, "--covariance", "all", "--steps", 5, "--images", 8)["nll"]
    assert {name: one["bits_per_dim"] for name, one in found.items()} == pytest.approx(
        EXPECTED["bits_per_dim"], rel=1e-5
    )


def test_it_is_whole_and_its_statistics_go_on(before: Path, done: Done) -> None:
    assert done("inspect", before)["problems"] == []
    more = done("estimate-var", "--run", before, "--add", "--samples", 1, "--knot-samples", 1)
    assert {name: one["samples"] for name, one in more.items()} == {"table": 5, "spectrum": 41, "matrices": 41}
    for name, expected in EXPECTED["added"].items():
        assert sums(before / f"{name}.safetensors") == pytest.approx(expected, rel=1e-5)


def test_its_training_goes_on(before: Path, done: Done) -> None:
    """Options said aloud that the version before could not have are no change."""
    aloud = ("--predict", "eps", "--no-classes", "--label-dropout", 0)
    trained = done("train-mean", "--run", before, "--resume", "--iterations", 405, *aloud)
    assert trained["iterations"] == 405
    assert sums(before / "mean.safetensors") == pytest.approx(EXPECTED["trained"], rel=1e-4)
