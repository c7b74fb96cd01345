"""How processes hear what becomes of one another: a pulse a second, and last words.

A process that is killed breaks its connections, which the others notice at once. What they notice does not say why, and
of a machine that has lost its power or a process that waits for a GPU they notice nothing. So each process leaves last
words where all can read them, and a pulse while it lives.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Self

from diffcov.errors import DiffcovError, Interrupted, ProcessLost

__all__ = ["SILENCE", "Watch", "Words", "last_words"]

BEAT = 1.0
"""Seconds between two beats of a pulse."""
SILENCE = 40.0
"""Seconds without one after which a process is taken for dead."""
PATIENCE = 2.5
"""Seconds to wait for the last words of another, or for a beat of its pulse."""
GRACE = 20.0
"""Seconds in which a process is to notice by itself that another has failed."""


@dataclass(frozen=True)
class Words:
    """Last words of a process.

    Attributes:
        failed: whether it ended by an error of its own, and not because another did or somebody wished it.
        text: of the error.
        code: that it exits with.
    """

    failed: bool
    text: str = ""
    code: int = 0

    @classmethod
    def done(cls) -> Self:
        """The words of a process that did what it had to."""
        return cls(False)


def last_words(error: BaseException) -> Words:
    """The words of a process that ends by an error."""
    if isinstance(error, ProcessLost | Interrupted | KeyboardInterrupt):
        return Words(False, "stopped", getattr(error, "exit_code", 130))
    if isinstance(error, DiffcovError):
        return Words(True, str(error), error.exit_code)
    first = (str(error).splitlines() or [""])[0]
    return Words(True, f"{type(error).__name__}: {first}", 1)


class Watch:
    """The pulse and the last words of one process, and those of the others.

    Args:
        store: key and value that all processes share, see ``torch.distributed.TCPStore``.
        rank: of this process.
        size: number of processes.
        on_silence: see ``joined``.
    """

    def __init__(self, store: Any, rank: int, size: int, on_silence: Callable[[str], None] | None) -> None:
        self.store, self.rank, self.size, self.on_silence = store, rank, size, on_silence
        self._said, self._over, self._known = False, threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._live, name="pulse", daemon=True)
        self._thread.start()

    @classmethod
    def joined(cls, on_silence: Callable[[str], None] | None) -> Self:
        """The watch over the processes that torchrun started."""
        from torch._C._distributed_c10d import PrefixStore, TCPStore

        where = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        client = TCPStore(*where, is_master=False, timeout=timedelta(seconds=20))
        name = f"diffcov/{os.environ.get('TORCHELASTIC_RUN_ID', '')}/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
        return cls(PrefixStore(name, client), int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), on_silence)

    def say(self, words: Words) -> None:
        """Leave last words, unless some are left or nobody can hear them."""
        if not self._said:
            self._said = True
            self._try(lambda: self.store.set(f"words/{self.rank}", json.dumps(asdict(words))))

    def noticed(self) -> None:
        """The program itself knows that another process is gone, and ends by itself: nothing ends it from outside."""
        self._known.set()

    def stop(self) -> None:
        """End the pulse, and wait for its thread: one that asks the store while Python ends would abort the process."""
        self._over.set()
        self._thread.join(PATIENCE)

    def words_of(self, rank: int) -> Words | None:
        """The last words of a process; None while it lives, or where they are lost."""
        name = f"words/{rank}"
        said = self._try(lambda: self.store.get(name) if self.store.check([name]) else None)
        return None if said is None else Words(**json.loads(said))

    def failure(self) -> tuple[int, Words] | None:
        """(rank, words) of the first process by rank that failed by itself; None if none has said so."""
        every = ((rank, self.words_of(rank)) for rank in range(self.size) if rank != self.rank)
        return next(((rank, words) for rank, words in every if words is not None and words.failed), None)

    def dead(self) -> list[int]:
        """The processes that have ended without a word: no words, and no pulse while one would have beaten."""
        silent = [rank for rank in range(self.size) if rank != self.rank and self.words_of(rank) is None]
        before = {rank: self._beats(rank) for rank in silent}
        ends = time.monotonic() + PATIENCE
        while silent and time.monotonic() < ends:
            time.sleep(BEAT / 10)
            silent = [rank for rank in silent if self.words_of(rank) is None and self._beats(rank) == before[rank]]
        return silent

    def take_the_word(self) -> bool:
        """Whether this process is the one that tells the user; the first that asks is."""
        taken = self._try(lambda: self.store.add("told", 1))
        return taken in (None, 1)

    def _beats(self, rank: int) -> int:
        name = f"beats/{rank}"
        found = self._try(lambda: self.store.get(name) if self.store.check([name]) else b"0")
        return int(found or 0)

    def _try(self, ask: Callable[[], Any]) -> Any:
        """What the store answers; None where it is gone with the process or the launcher that kept it."""
        try:
            return ask()
        except RuntimeError:
            return None

    def _live(self) -> None:
        """Beat, and notice whose pulse has stopped: the first process watches all, the others the first."""
        watched = range(1, self.size) if self.rank == 0 else range(1)
        heard = {rank: (0, time.monotonic()) for rank in watched}
        failed: float | None = None
        while not self._over.wait(BEAT):
            self._try(lambda: self.store.add(f"beats/{self.rank}", 1))
            for rank in watched:
                beats, now = self._beats(rank), time.monotonic()
                if beats != heard[rank][0]:
                    heard[rank] = beats, now
                elif now - heard[rank][1] > SILENCE and self.words_of(rank) is None:
                    self._end(
                        f"process {rank} of {self.size} has not been heard of for {SILENCE:.0f} s (its machine is gone "
                        "or cannot be reached), so the others stopped too"
                    )
                    return
            found = self.failure()
            if found is not None:
                failed = time.monotonic() if failed is None else failed
                if time.monotonic() - failed > GRACE:
                    self._end(f"process {found[0]} of {self.size}: {found[1].text}")
                    return

    def _end(self, sentence: str) -> None:
        if self.on_silence is not None and not self._over.is_set() and not self._known.is_set():
            self.on_silence(sentence)
