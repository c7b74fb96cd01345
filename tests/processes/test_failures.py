"""A process that dies or fails ends all of them, with one sentence, soon, and with the state kept."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import TINY, run_cli
from diffcov.store.state import read_progress
from processes.launch import HERE, ended, pid_of, sentences, torchrun

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").is_file(), reason="finds processes by /proc")

WITHIN = 45
"""Seconds from a death to the end of everything, torchrun's own 30 s for those that do not hear it included."""


def begun(run: Path) -> None:
    """Wait until a training has written a line of log."""
    ends = time.monotonic() + 60
    while not (run / "log.jsonl").is_file():
        assert time.monotonic() < ends, "no training"
        time.sleep(0.05)


Training = tuple[Path, subprocess.Popen[str]]


@pytest.fixture
def training(tmp_path: Path) -> Iterator[Training]:
    run = tmp_path / "run"
    words = (*TINY, "--minutes", 5, "--log-every", 1, "--preview-minutes", 0)
    with torchrun("-m", "diffcov", "--", "train-mean", "--run", run, *words) as process:
        begun(run)
        yield run, process


def test_a_killed_process(training) -> None:
    run, process = training
    os.kill(pid_of(process, 1), signal.SIGKILL)
    code, stdout, stderr = ended(process, WITHIN)
    assert code == 1 and stdout == ""
    state = run / "state" / "mean.safetensors"
    _, done = read_progress(state)
    assert sentences(stderr) == [
        "process 1 of 2 ended without a word (killed, out of memory, or the machine is gone); what was saved up to "
        f"iteration {done.iteration} is kept, go on from there on any number of processes with: diffcov train-mean "
        f"--run {run} --resume"
    ]
    assert done.iteration > 0, "all that was done when the other died"
    assert not list(run.rglob(".*")), "nothing half-written is left"
    found = run_cli("train-mean", "--resume", "--iterations", done.iteration + 2, "--run", run)
    assert found.exit_code == 0, found.stderr


@pytest.mark.slow
def test_the_first_process_killed(training) -> None:
    """The next one tells it; what was saved last is kept."""
    run, process = training
    os.kill(pid_of(process, 0), signal.SIGKILL)
    code, _, stderr = ended(process, WITHIN)
    assert code == 1
    (sentence,) = sentences(stderr)
    assert sentence.startswith("process 0 of 2 ended without a word (killed, out of memory, or the machine is gone); ")
    assert (
        "what was saved last is kept, go on from there on any number of processes with: diffcov train-mean" in sentence
    )
    assert run_cli("train-mean", "--resume", "--minutes", 5, "--iterations", 2, "--run", run).exit_code == 0


@pytest.mark.slow
def test_a_process_that_is_silent(training: Training) -> None:
    """It is stopped, so no connection breaks: as if its machine had gone. torchrun takes 30 s more to end it."""
    _, process = training
    os.kill(pid_of(process, 1), signal.SIGSTOP)
    assert process.stderr is not None
    stopped = time.monotonic()
    while not (line := process.stderr.readline()).startswith("error: "):
        assert time.monotonic() - stopped < 60
    assert line == (
        "error: process 1 of 2 has not been heard of for 40 s (its machine is gone or cannot be reached), so the "
        "others stopped too; what was saved is kept: start again, with --resume if it is a training\n"
    )


@pytest.mark.slow
def test_a_wish_to_stop(training) -> None:
    """Torchrun hands SIGTERM on; all stop after the same iteration."""
    run, process = training
    process.send_signal(signal.SIGTERM)
    _, _, stderr = ended(process, WITHIN)
    _, done = read_progress(run / "state" / "mean.safetensors")
    again = f"diffcov train-mean --run {run} --resume"
    told = f"stopped at iteration {done.iteration}; everything is saved, go on with: {again}"
    assert stderr.splitlines().count(told) == 1 and sentences(stderr) == []


@pytest.mark.slow
def test_a_process_killed_while_images_are_drawn(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("--steps", 50, "--count", 100_000, "--batch-size", 8, "--covariance", "small")
    with torchrun("-m", "diffcov", "--", "sample", "--run", finished, *words, "--out", out) as process:
        pid = pid_of(process, 1)
        while not (tmp_path / ".out.tmp").is_dir():
            time.sleep(0.05)
        time.sleep(1)
        os.kill(pid, signal.SIGKILL)
        code, _, stderr = ended(process, WITHIN)
    assert code == 1
    (sentence,) = sentences(stderr)
    assert sentence.startswith("process 1 of 2 ended without a word")
    assert not any(tmp_path.iterdir()), "nothing half-written is left"


def failed(word: str) -> tuple[int, str, str]:
    with torchrun(HERE / "failing.py", word) as process:
        return ended(process, WITHIN)


@pytest.mark.slow
def test_the_error_of_one_process_ends_all_with_its_sentence() -> None:
    code, stdout, stderr = failed("fail")
    assert code == 1 and stdout == ""
    assert sentences(stderr) == ["process 1 of 2: the folder cannot be read on this machine; see that it is shared"]


@pytest.mark.slow
def test_the_same_error_in_all_is_said_once() -> None:
    code, _, stderr = failed("both")
    assert code == 1
    assert sentences(stderr) == ["there is no such run"]
