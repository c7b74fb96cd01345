"""Keeping what is done of long work, so that the same command typed again goes on: a help that never hinders."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from diffcov.errors import OutputError
from diffcov.store.parts import Part
from diffcov.store.unfinished import unfinished, unfinished_beside
from diffcov.study.listener import Listener
from diffcov.study.wishes import Keeper, Nowhere

__all__ = ["EVERY", "Helpful", "Interval", "KeptState", "kept_beside"]

EVERY = 5.0
"""Seconds of work that a kill may cost: what is done is kept once in so many."""


class Interval:
    """A clock that says when it is time to keep something again: every :data:`EVERY` seconds."""

    def __init__(self) -> None:
        self.again()

    def over(self) -> bool:
        """Whether it is time."""
        return time.monotonic() - self._since >= EVERY

    def again(self) -> None:
        """Begin anew: something has just been kept."""
        self._since = time.monotonic()


class Helpful:
    """A keeper that says so once, and goes on, where something cannot be kept: the work itself may need no disk.

    Args:
        keeper: where parts are kept.
        listener: is told.
    """

    def __init__(self, keeper: Keeper, listener: Listener) -> None:
        self._keeper: Keeper = keeper
        self._listener = listener

    def part(self, name: str, identity: Mapping[str, Any]) -> Part | None:
        """A part measured earlier under this identity, or None if there is none that can be read."""
        return self._keeper.part(name, identity)

    def save_part(self, name: str, identity: Mapping[str, Any], part: Part) -> None:
        """Keep a part that is complete, if the file system lets it."""
        try:
            self._keeper.save_part(name, identity, part)
        except OutputError as error:
            self._give_up(error)

    def drop_part(self, name: str) -> None:
        """Remove a part that is no longer wanted, if it is there and the file system lets it go."""
        with suppress(OSError):
            self._keeper.drop_part(name)

    def _give_up(self, error: OutputError) -> None:
        self._listener.warn(f"{error}: should this be stopped, what it does from here on is done again")
        self._keeper = Nowhere()


class KeptState:
    """The state of a training, kept once in a while.

    Args:
        keeper: where.
        identity: of the training.
    """

    NAME = "state"

    def __init__(self, keeper: Keeper, identity: Mapping[str, Any]) -> None:
        self._keeper, self._identity, self._interval = keeper, identity, Interval()

    def found(self) -> Mapping[str, Tensor] | None:
        """What an earlier try has kept, or None."""
        part = self._keeper.part(self.NAME, self._identity)
        return None if part is None else part.tensors

    def told(self, iteration: int, state: Callable[[], Mapping[str, Tensor]]) -> None:
        """Keep the state after an iteration, if it is time to."""
        if self._interval.over():
            self._keeper.save_part(self.NAME, self._identity, Part(dict(state()), {"iteration": iteration}))
            self._interval.again()


@contextmanager
def kept_beside(path: Path, key: str, command: str, listener: Listener) -> Iterator[Keeper]:
    """A keeper for the pieces of some work while the block runs; they go when it succeeds.

    Where somebody else is doing the same work, or nothing can be written there, nothing is kept, and that is said.

    Args:
        path: of what comes of it, or where it would be.
        key: a digest of all that tells this work from other work.
        command: what does it, such as "diffcov evaluate".
        listener: is told.
    """
    with ExitStack() as held:
        keeper: Keeper = Nowhere()
        try:
            folder, advice = unfinished_beside(path, key), "nothing of this one is kept meanwhile"
            kept = held.enter_context(unfinished(folder, f"the same for {path}", command, advice))
            keeper = Helpful(kept, listener)
        except OutputError as error:
            listener.note(f"{error}: should this be stopped, it begins anew")
        yield keeper
