"""Two jobs in one run: the second is told whose it is, before anything is touched."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from diffcov.store.ownership import MEAN, owned_run

WRITERS = {
    "train-mean": (MEAN, ["train-mean", "--iterations", 3, "--force"]),
    "estimate-var": ("statistics", ["estimate-var", "--force"]),
    "fit-var-head": ("head-sn", ["fit-var-head", "--iterations", 1, "--force"]),
    "trajectory": ("grids", ["trajectory", "--force"]),
    "tune": ("recipe-5", ["tune", "--steps", 5, "--force"]),
    "compare": ("comparison", ["compare", "--force"]),
}


def files(run: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(run)): path.read_bytes()
        for path in run.rglob("*")
        if path.suffix != ".lock" and path.is_file()
    }


@pytest.mark.parametrize("command", WRITERS)
def test_what_somebody_writes_is_not_written_by_another(
    refused: Callable[..., str], mean_run: Path, command: str
) -> None:
    task, words = WRITERS[command]
    before = files(mean_run)
    with owned_run(mean_run, command, task):
        told = refused(1, words[0], "--run", mean_run, *words[1:])
        assert f"({task}) is being written by diffcov {command} (process" in told.replace(f" --run {mean_run}", "")
        assert "wait until it has ended, or work in another --run" in told
    assert files(mean_run) == before


@pytest.mark.parametrize("command", [command for command in WRITERS if command != "train-mean"])
def test_nothing_is_measured_of_a_mean_that_is_being_trained(
    refused: Callable[..., str], mean_run: Path, command: str
) -> None:
    with owned_run(mean_run, "train-mean", MEAN):
        told = refused(1, WRITERS[command][1][0], "--run", mean_run, *WRITERS[command][1][1:])
        assert "(mean) is being written by diffcov train-mean" in told


def test_readers_and_dry_runs_need_nothing(done: Callable[..., object], mean_run: Path) -> None:
    with owned_run(mean_run, "train-mean", MEAN):
        done("inspect", mean_run)
        done("train-mean", "--run", mean_run, "--dry-run", "--iterations", 2, "--channels", 8, "--blocks", 1)
        done("sample", "--run", mean_run, "--covariance", "small", "--steps", 2, "--count", 1)


@pytest.mark.parametrize("command", [command for command in WRITERS if command != "train-mean"])
def test_a_run_that_is_not_there_is_asked_for_before_its_lock(
    refused: Callable[..., str], tmp_path: Path, command: str
) -> None:
    told = refused(3, WRITERS[command][1][0], "--run", tmp_path / "nope", *WRITERS[command][1][1:])
    assert "holds no mean model" in told
    assert not (tmp_path / "nope").exists()


def test_a_state_that_no_lock_can_be_written_for_is_not_taken_for_somebody_elses(
    refused: Callable[..., str], mean_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be fitted under another name, as if another fit were at it."""
    opened = os.open

    def refusing(path: str | Path, *how: int) -> int:
        if str(path).endswith("heads.lock"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return opened(path, *how)

    before = files(mean_run)
    monkeypatch.setattr(os, "open", refusing)
    told = refused(1, "fit-var-head", "--run", mean_run, "--iterations", 1)
    assert "(heads): No space left on device" in told
    assert files(mean_run) == before
