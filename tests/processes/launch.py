"""Real processes: torchrun, two of them, one thread each, over gloo."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
CHILDREN = Path("/proc")


@contextmanager
def torchrun(*words: object, processes: int = 2) -> Iterator[subprocess.Popen[str]]:
    """Started, not waited for; ended with all its processes at the end of the block, if it is still running."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", processes, *words]
    with subprocess.Popen(
        [str(word) for word in command], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as launched:
        try:
            yield launched
        finally:
            if launched.poll() is None:
                launched.terminate()  # which it hands on
                launched.communicate()


def ended(process: subprocess.Popen[str], seconds: float = 60) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a process that must end within so many seconds."""
    stdout, stderr = process.communicate(timeout=seconds)
    return process.returncode, stdout, stderr


def pid_of(launcher: subprocess.Popen[str], rank: int) -> int:
    """The process of a rank, by the environment that torchrun gave it."""
    ends = time.monotonic() + 30
    while time.monotonic() < ends:
        for child in (CHILDREN / str(launcher.pid) / "task" / str(launcher.pid) / "children").read_text().split():
            told = (CHILDREN / child / "environ").read_bytes().split(b"\0")
            if f"RANK={rank}".encode() in told:
                return int(child)
        time.sleep(0.05)
    raise AssertionError(f"no process of rank {rank} within 30 s")


def sentences(stderr: str) -> list[str]:
    """What the program says of why it ended; torchrun's own report of that is left out."""
    return [line.removeprefix("error: ") for line in stderr.splitlines() if line.startswith("error: ")]
