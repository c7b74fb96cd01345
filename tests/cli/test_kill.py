"""kill -9 at ten random moments: resumed each time, the training ends where it would have ended."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

KILLS = 10
ITERATIONS = 700
OPTIONS = (
    *("--channels", "8", "--multipliers", "1", "--blocks", "1", "--heads", "1", "--attention", "none"),
    *("--timesteps", "50", "--batch-size", "8", "--dropout", "0.1", "--flip", "--iterations", str(ITERATIONS)),
)
INTERVALS = ("--log-every", "1", "--save-minutes", "0.0005", "--preview-minutes", "0.01")


def start(run: Path, *words: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    return subprocess.Popen(
        [sys.executable, "-m", "diffcov", "train-mean", "--run", str(run), *words, *INTERVALS],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def begun(run: Path, process: subprocess.Popen[str], seen: int) -> bool:
    """Whether the process has written a line of log of its own."""
    log = run / "log.jsonl"
    return process.poll() is not None or (log.is_file() and log.stat().st_mtime_ns > seen)


@pytest.mark.slow
def test_ten_kills(cli: Any, tmp_path: Path) -> None:
    run, whole = tmp_path / "run", tmp_path / "whole"
    moments = random.Random(20220117)
    state = run / "state" / "mean.safetensors"
    ended = 0
    for kill in range(KILLS):
        process = start(run, *(("--resume",) if state.is_file() else (*OPTIONS, "--force")))
        if kill % 3 == 2:  # also while torch is imported, the data read, the state loaded
            time.sleep(moments.uniform(0.0, 4.0))
        else:  # and in the thick of it: steps, logs, saves and previews
            seen = time.time_ns()
            while not begun(run, process, seen):
                time.sleep(0.005)
            time.sleep(moments.uniform(0.0, 1.0))
        process.kill()
        _, stderr = process.communicate()
        assert process.returncode in (-9, 0), stderr
        ended += process.returncode == 0
        for path in run.rglob("*.safetensors"):
            if not path.name.startswith("."):
                load_file(path)
    assert ended <= KILLS // 2, "most were killed in the middle"
    process = start(run, *(("--resume",) if state.is_file() else (*OPTIONS, "--force")))
    _, stderr = process.communicate()
    assert process.returncode == 0, stderr

    assert cli("train-mean", "--run", whole, *OPTIONS).exit_code == 0
    mine, theirs = load_file(run / "mean.safetensors"), load_file(whole / "mean.safetensors")
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == list(range(1, ITERATIONS + 1))
    assert not [path for path in run.rglob(".*") if "samples" not in path.parts], "no temporary file is left"
