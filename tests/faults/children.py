"""The program in a forked child that is killed, or refused by its file system, at a chosen operation.

A child is forked from this process, which has everything imported, so that hundreds of them take minutes. What it asks
of the file system is heard by an audit hook of the interpreter; ``os.fsync``, of which that knows nothing, is wrapped.
"""

from __future__ import annotations

import errno
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

WRITES = frozenset({"os.rename", "os.mkdir", "os.chmod", "os.truncate", "os.link", "os.symlink"})
"""Events of the audit hook that change a folder and can be refused, besides opening for writing."""
REMOVALS = frozenset({"os.remove", "os.rmdir"})
HANGS = 600.0
"""Seconds after which a child hangs."""


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    Attributes:
        code: exit code; -9 where it was killed.
        stdout, stderr: what it said.
        operations: how many operations it had asked for; 0 where it was killed.
        seconds: until it ended.
        answered: seconds from the signal that it was sent to its end; 0 where it was sent none in time.
    """

    code: int
    stdout: str
    stderr: str
    operations: int
    seconds: float
    answered: float = 0.0

    @property
    def killed(self) -> bool:
        return self.code in (-signal.SIGKILL, -signal.SIGXFSZ)


class Operations:
    """Counts what a child asks of the file system below a folder, and acts at one of these.

    Args:
        folder: where; elsewhere nothing counts.
        at: number of the operation at which to act, from 1 on; 0 never acts.
        act: what to do then, before the operation.
        removals: whether removing counts.
    """

    def __init__(self, folder: Path, at: int, act: Callable[[], None], *, removals: bool) -> None:
        self.folder, self.at, self.act = str(folder), at, act
        self.events = WRITES | REMOVALS if removals else WRITES
        self.count = 0

    def listen(self) -> None:
        """Begin to count, in this process for good."""
        synced = os.fsync

        def fsync(descriptor: int) -> None:
            self.one()
            synced(descriptor)

        os.fsync = fsync
        sys.addaudithook(self.hear)

    def hear(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = args
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes and self._ours(path):
                self.one()
        elif event in self.events and self._ours(args[0]):
            self.one()

    def one(self) -> None:
        self.count += 1
        if self.count == self.at:
            self.act()

    def _ours(self, path: object) -> bool:
        return isinstance(path, str | bytes | os.PathLike) and os.fsdecode(path).startswith(self.folder)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def refuse(number: int) -> Callable[[], None]:
    """The file system says no: ENOSPC, EIO."""

    def act() -> None:
        raise OSError(number, os.strerror(number))

    return act


def child(
    words: list[object],
    folder: Path,
    *,
    at: int = 0,
    act: Callable[[], None] = die,
    removals: bool = True,
    after: float | None = None,
    number: int = signal.SIGKILL,
    largest: int | None = None,
) -> Ended:
    """Run ``diffcov`` in a fork of this process.

    Args:
        words: what is typed.
        folder: where operations count.
        at, act, removals: as for :class:`Operations`.
        after: seconds until it is sent the signal ``number``; None sends none.
        largest: bytes past which no file grows: the kernel kills who writes further, in the middle of a write.
    """
    with tempfile.TemporaryDirectory() as place:
        said = [Path(place) / name for name in ("stdout", "stderr", "count")]
        started = time.monotonic()
        pid = os.fork()
        if pid == 0:
            _become(words, Operations(folder, at, act, removals=removals), said, largest)
        sent: float | None = None
        if after is not None:
            time.sleep(after)
            if (early := os.waitpid(pid, os.WNOHANG)) != (0, 0):
                return _ended(early[1], said, started)
            sent = time.monotonic()
            os.kill(pid, number)
        while (done := os.waitpid(pid, os.WNOHANG)) == (0, 0):
            if time.monotonic() - started > HANGS:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                pytest.fail(f"{words} hangs; it said: {said[1].read_text()}")
            time.sleep(0.002)
        return _ended(done[1], said, started, sent)


def _ended(status: int, said: list[Path], started: float, sent: float | None = None) -> Ended:
    out, err, count = (path.read_text(errors="replace") if path.exists() else "" for path in said)
    now = time.monotonic()
    answered = 0.0 if sent is None else now - sent
    return Ended(os.waitstatus_to_exitcode(status), out, err, int(count or 0), now - started, answered)


def _become(words: list[object], operations: Operations, said: list[Path], largest: int | None) -> None:
    """Be the program; never returns."""
    code = 70
    try:
        out, err = (os.open(path, os.O_WRONLY | os.O_CREAT) for path in said[:2])
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.pop("DIFFCOV_RUN", None)
        if largest is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
        from diffcov.cli.app import main

        sys.argv = ["diffcov", *map(str, words)]
        operations.listen()
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        operations.at = 0
        said[2].write_text(str(operations.count))
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def moment(random_: random.Random, operations: int, seconds: float) -> dict[str, Any]:
    """A random point at which to kill a child: at an operation, by the clock, or in the middle of a file."""
    kind = random_.random()
    if kind < 0.7:
        return {"at": random_.randint(1, operations)}
    if kind < 0.9:
        return {"after": random_.uniform(0.0, seconds)}
    return {"largest": int(10 ** random_.uniform(0.5, 5.5))}


NO_SPACE, BROKEN = refuse(errno.ENOSPC), refuse(errno.EIO)
