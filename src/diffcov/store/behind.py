"""Writing behind the back of the work: pictures of one batch are packed and written while the next is drawn."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

__all__ = ["Behind"]

WAITING = 2
"""Writes that may wait: more would only take memory where the disk is slower than the work."""


class Behind:
    """One other thread that writes, in order; as a context, all is written where it ends.

    What a write raises is raised by the next call, or at the end.
    """

    def __init__(self) -> None:
        self._writer = ThreadPoolExecutor(1, "diffcov-writer")
        self._waiting = deque[Future[object]]()

    def do(self, write: Callable[[], object]) -> None:
        """Have it written, soon; waits if :data:`WAITING` others are not yet."""
        self._waiting.append(self._writer.submit(write))
        while len(self._waiting) > WAITING:
            self._waiting.popleft().result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.shutdown(wait=True, cancel_futures=kind is not None)
        if kind is None:
            for write in self._waiting:
                write.result()
