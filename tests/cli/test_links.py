"""Runs and folders that are symbolic links: what is written is behind them, also where there is nothing yet."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import FEW_KNOTS, TINY


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Where links lead to."""
    (tmp_path / "disk").mkdir()
    return tmp_path / "disk"


def link(disk: Path, name: str) -> Path:
    """A link beside the disk to something on it."""
    found = disk.parent / name
    found.symlink_to(disk / name)
    return found


def test_a_run_behind_a_link(done: Callable[..., Any], disk: Path) -> None:
    run, out = link(disk, "run"), link(disk, "comparison")
    done("train-mean", "--run", run, *TINY, "--iterations", 1)
    assert {path.name for path in (disk / "run").iterdir()} >= {"mean.safetensors", "state", "log.jsonl"}
    done("train-mean", "--run", run, "--resume", "--iterations", 2)
    done("estimate-var", "--run", run, "--samples", 1, *FEW_KNOTS)
    done("fit-var-head", "--run", run, "--kind", "sn", "--iterations", 1, "--batch-size", 8)
    done("sample", "--run", run, "--steps", 2, "--count", 1)
    done("trajectory", "--run", run, "--covariance", "small", "--images", 1, "--candidates", 5)
    for more in ([], ["--force"]):
        words = ["--covariance", "small", "--solver", "ddpm", "--steps", 2, "--images", 2, "--count", 0]
        done("compare", "--run", run, *words, "--samplers", "none", "--out", out, *more)
    assert run.is_symlink()
    assert out.is_symlink()
    assert {path.name for path in disk.parent.iterdir()} == {"disk", "run", "comparison"}
    assert {path.name for path in disk.iterdir()} == {"run", "comparison"}
    files = {path.name for path in (disk / "run").iterdir()}
    assert {"variance.safetensors", "head-sn.safetensors", "samples", "trajectory-small.safetensors"} <= files
    assert (disk / "comparison" / "report.html").is_file()


def test_nothing_is_left_behind_a_link_where_nothing_was_written(refused: Callable[..., str], disk: Path) -> None:
    run = link(disk, "run")
    assert "no such file or folder: " in refused(3, "train-mean", "--run", run, "--data", disk / "nope")
    assert list(disk.iterdir()) == []
    assert run.is_symlink()


def test_a_set_in_a_folder_behind_a_link(done: Callable[..., Any], trained: Path, disk: Path) -> None:
    folder = link(disk, "sets")
    words = ["sample", "--run", trained, "--covariance", "small", "--steps", 2]
    done(*words, "--count", 2, "--out", folder / "one")
    shutil.rmtree(disk / "sets")
    for first in (0, 1):
        done(*words, "--first", first, "--count", 1, "--of", 2, "--out", folder / "two")
    assert [path.name for path in (disk / "sets").iterdir()] == ["two"]
    assert folder.is_symlink()
