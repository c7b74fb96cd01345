"""What a reader may do with a stranger's file: read it. Not run anything, not write, not talk to anybody."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from diffcov.runtime import peak_memory

__all__ = ["SECONDS", "guarded"]

SECONDS = 5.0
"""That a file may take."""
MEMORY = 1 << 30
"""That it may take, in bytes."""
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect", "os.remove", "os.rename")
FORBIDDEN += (
    "os.rmdir",
    "shutil.rmtree",
    "os.mkdir",
    "os.chmod",
    "os.symlink",
    "os.putenv",
    "ctypes.dlopen",
    "webbrowser.open",
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

_watched: list[str] | None = None


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched is None:
        return
    if event in FORBIDDEN:
        _watched.append(f"{event} {arguments!r}"[:200])
    elif event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING:
        _watched.append(f"open to write {arguments[0]!r}")


sys.addaudithook(_hook)


@contextmanager
def guarded() -> Iterator[None]:
    """Fail (AssertionError) if the block takes too long or too much, or does what a reader may not do."""
    global _watched

    def too_long(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"no end after {SECONDS:g} s")

    before, started, seen = peak_memory(), time.monotonic(), list[str]()
    handler = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, 4 * SECONDS)
    _watched = seen
    try:
        yield
    finally:
        _watched = None
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
    assert time.monotonic() - started < SECONDS
    assert peak_memory() - before < MEMORY
    assert seen == []
