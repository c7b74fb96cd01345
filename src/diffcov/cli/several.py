"""Several processes at the terminal: the first one talks, and one sentence tells why all of them ended."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING

from diffcov.cli.voice import Voice
from diffcov.errors import DiffcovError, ProcessLost
from diffcov.processes.base import ALONE, current
from diffcov.processes.joined import Joined, joined

if TYPE_CHECKING:
    from diffcov.processes.watch import Watch

__all__ = ["quiet_unless_first", "together"]


@contextmanager
def quiet_unless_first() -> Iterator[None]:
    """Inside, every process but the first says nothing; what is a bug shows its traceback outside."""
    with ExitStack() as stack:
        if int(os.environ.get("WORLD_SIZE", 1)) > 1 and os.environ.get("RANK", "0") != "0":
            stack.enter_context(redirect_stdout(Voice(None)))
            stack.enter_context(redirect_stderr(Voice(None)))
        yield


@contextmanager
def together() -> Iterator[None]:
    """Inside, the processes that torchrun started work together; one of them tells why they ended.

    Raises:
        DiffcovError: the error of whichever process failed, in all of them, or that one is gone.
        KeyboardInterrupt: all of them were asked to stop.
    """
    if current() is not ALONE:  # a script has joined them, and tells of its end itself
        yield
        return
    with joined(_end_at_once) as processes:
        try:
            yield
        except (DiffcovError, KeyboardInterrupt) as error:
            if isinstance(processes, Joined):
                raise _told(processes, error) from error
            raise


def _told(processes: Joined, error: DiffcovError | KeyboardInterrupt) -> DiffcovError | KeyboardInterrupt:
    """The error to end with; this process talks if it is the one to tell it, and is silent from here on if not."""
    from diffcov.processes.watch import last_words

    for number in (signal.SIGINT, signal.SIGTERM):  # torchrun sends one as soon as a process has died
        signal.signal(number, signal.SIG_IGN)
    watch = processes.watch
    watch.say(last_words(error))
    told = error
    if isinstance(error, ProcessLost | KeyboardInterrupt):
        told = _reason(processes, watch, error)
    speaks = processes.first or set(range(processes.rank)) <= set(watch.dead())
    if not speaks or not watch.take_the_word():
        sys.stderr = Voice(None)
    elif not processes.first:
        sys.stderr = Voice(sys.__stderr__)
    return told


def _reason(
    processes: Joined, watch: Watch, error: ProcessLost | KeyboardInterrupt
) -> DiffcovError | KeyboardInterrupt:
    """Why this process was left by the others, or stopped by the launcher, as far as they said."""
    failure = watch.failure()
    dead = watch.dead() if failure is None else []
    failure = failure or watch.failure()
    if failure is not None:
        rank, words = failure
        found = DiffcovError(f"process {rank} of {processes.size}: {words.text}")
        found.exit_code = words.code
        return found
    if not dead:
        return error
    who = f"process {dead[0]}" if len(dead) == 1 else f"processes {', '.join(map(str, dead))}"
    what = f"{who} of {processes.size} ended without a word (killed, out of memory, or the machine is gone)"
    return ProcessLost.told(what, error.advice if isinstance(error, ProcessLost) else ProcessLost.KEPT)


def _end_at_once(sentence: str) -> None:
    """End the process from a thread: its main thread may wait for good. Files are written whole or not at all."""
    if os.environ["RANK"] == "0":
        voice = Voice(sys.__stderr__)
        voice.write(f"error: {ProcessLost.told(sentence)}\n")
        voice.flush()
    os._exit(1)
