"""Ctrl-C and SIGTERM as a wish: the running task finishes its step, saves, and stops."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["stop_requests"]


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """A function that says whether a stop was asked for; a second Ctrl-C stops at once.

    Only the main thread can listen to signals; elsewhere the function always says no.

    Raises:
        KeyboardInterrupt: the task came to its end all the same, as the wish came with its last step; what follows it
            must not begin.
    """
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    try:
        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:
        before = {}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if asked:
        raise KeyboardInterrupt
