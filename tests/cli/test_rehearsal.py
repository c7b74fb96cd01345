"""What a training would cost: printed by --dry-run, and named where large images are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import TINY
from diffcov.engines.training.presets import PRESETS

Done = Callable[..., Any]
Refused = Callable[..., str]
COST = {
    "parameters", "memory_bytes", "seconds_per_iteration", "timed_iterations", "budget_buys_iterations", "images_seen",
    "epochs",
}  # fmt: skip
FEW = "iterations are few: below about 1,000 samples show little"


def colours(path: Path, side: int, count: int = 8) -> Path:
    np.save(path, np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8))
    return path


def test_a_dry_run_times_three_iterations(done: Done, trained: Path, tmp_path: Path) -> None:
    found = done("train-mean", "--run", tmp_path / "run", *TINY, "--dry-run", "--iterations", 4000)
    assert found.keys() >= COST
    assert (found["timed_iterations"], found["budget_buys_iterations"]) == (3, 4000)
    assert found["images_seen"] == 4000 * 8
    assert found["epochs"] == pytest.approx(4000 * 8 / 1500)
    weights = done("inspect", trained / "mean.safetensors")["parts"][0]["parameters"]
    assert found["parameters"] == weights
    assert 1e7 < found["memory_bytes"] < 1e11
    assert 0 < found["seconds_per_iteration"] < 5


def test_minutes_buy_what_the_seconds_say(done: Done, tmp_path: Path) -> None:
    found = done("train-mean", "--run", tmp_path / "run", *TINY, "--dry-run", "--minutes", 3)
    assert found["budget_buys_iterations"] == int(180 / found["seconds_per_iteration"])


def test_without_json_it_is_a_line_of_settings(cli: Any, tmp_path: Path) -> None:
    said = cli("train-mean", "--run", tmp_path / "run", *TINY, "--dry-run", "--iterations", 4000)
    assert said.stdout.startswith("data digits, preset digits, predict eps, ")
    assert ", channels 8, multipliers 1, blocks 1, " in said.stdout
    assert said.stdout.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_few_iterations_are_warned_of(cli: Any, tmp_path: Path) -> None:
    words = "train-mean", "--run", tmp_path / "run", *TINY, "--dry-run"
    assert f"899 {FEW}" in cli(*words, "--iterations", 899).stderr
    assert FEW not in cli(*words, "--iterations", 1001).stderr
    assert FEW not in cli(*words).stderr, "the preset's own length is known to do"


def test_small_photographs_on_a_cpu_get_the_small_preset(done: Done, tmp_path: Path) -> None:
    data = colours(tmp_path / "a.npy", 16)
    found = done("train-mean", "--run", tmp_path / "run", "--data", data, *TINY, "--dry-run", "--device", "cpu")
    assert found["settings"]["preset"] == "small"
    assert found["iterations"] == PRESETS["small"].iterations
    assert found["settings"]["flip"]


@pytest.mark.slow
def test_large_images_are_refused_with_their_cost(refused: Refused, done: Done, tmp_path: Path) -> None:
    data = colours(tmp_path / "a.npy", 80, 2)
    words = "train-mean", "--run", tmp_path / "run", "--data", data, *TINY, "--device", "cpu"
    for more in ([], ["--dry-run"]):
        message = refused(3, *words, *more)
        assert "images of 80x80 are large for a CPU: about " in message
        assert " s an iteration of 8 images" in message
        assert "shrink them with --size 32, or say --size 80 if you mean that" in message
    for size in (80, 16):
        assert done(*words, "--size", size, "--dry-run", "--iterations", 1)["settings"]["size"] == size


def test_oblong_images_have_no_size_of_their_own(refused: Refused, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 70, 90, 3), dtype=np.uint8))
    words = "train-mean", "--run", tmp_path / "run", "--data", tmp_path / "a.npy", *TINY, "--device", "cpu"
    assert "or say --size 70 for their middles as they are" in refused(3, *words)


def test_a_rehearsal_leaves_no_trace(done: Done, tmp_path: Path) -> None:
    done("train-mean", "--run", tmp_path / "run", *TINY, "--dry-run", "--iterations", 2)
    assert list(tmp_path.iterdir()) == []
