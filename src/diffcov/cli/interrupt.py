"""Ctrl-C and SIGTERM as a wish: the running task finishes its step, saves, and stops."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["heard", "listen", "obey", "stop_requests"]

_heard = False
"""Whether a signal has been heard that ends the program."""


def listen() -> None:
    """End at Ctrl-C and SIGTERM by a KeyboardInterrupt, and remember that one was raised.

    It can be lost: what C code asks of an object (whether it has an attribute, before Python 3.13) runs Python, and an
    exception in there is dropped. :func:`obey` raises it again. Where Ctrl-C is ignored, as in the background, it stays
    so.
    """
    global _heard
    _heard = False
    signal.signal(signal.SIGTERM, _insist)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _insist)


def _insist(number: int, frame: FrameType | None) -> None:
    global _heard
    _heard = True
    raise KeyboardInterrupt


def heard() -> bool:
    """Whether such a signal was heard: an error that follows may be what foreign code made of the interrupt."""
    return _heard


def obey() -> None:
    """Raise the KeyboardInterrupt of a signal that was heard and lost; called where long work tells how far it is."""
    if _heard:
        raise KeyboardInterrupt


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """A function that says whether a stop was asked for; a second Ctrl-C stops at once.

    Only the main thread can listen to signals; elsewhere the function always says no.

    Raises:
        KeyboardInterrupt: the task came to its end all the same, as the wish came with its last step; what follows it
            must not begin.
    """
    asked = _heard  # and lost

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
