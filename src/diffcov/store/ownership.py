"""One owner at a time for what is written: locks that the system takes back from a process that dies.

Readers need none. A lock is a file with the owner's name in it, held by flock(2), which network file systems know too;
it is removed when it is given back, and what a killed owner left is taken over. Where a system or a file system has no
such locks, nothing is refused, and what protects files then are temporary names of their own and a second look before
something takes its place.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from diffcov.errors import OutputError, OwnedError
from diffcov.processes.base import current

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["MEAN", "Owner", "owned", "owned_run", "owner_of", "remove_dead", "task_lock"]

MEAN = "mean"
"""What everything else in a run hangs on: nothing else is written while it is."""
GONE = 1000
"""Times in a row that a folder may be gone again before a file was made in it."""
PATIENCE = 0.5
"""Seconds for which a lock is tried: somebody may only be looking whose it is."""


@dataclass(frozen=True)
class Owner:
    """Who writes something.

    Attributes:
        command: what it does.
        pid: its process.
        host: where that runs.
        since: when it began, local time.
    """

    command: str
    pid: int
    host: str
    since: str

    def __str__(self) -> str:
        return f"{self.command} (process {self.pid} on {self.host}, since {self.since})"

    @classmethod
    def me(cls, command: str) -> Owner:
        """This process."""
        return cls(command, os.getpid(), socket.gethostname(), datetime.now().isoformat(" ", "seconds"))


@contextmanager
def owned(lock: Path, what: str, command: str, advice: str, wait: float = PATIENCE) -> Iterator[bool]:
    """Be the owner of something while the block runs.

    Args:
        lock: the file that stands for it; its folder is made.
        what: the thing, in words.
        command: what the owner does.
        advice: what to do if somebody else is the owner.
        wait: seconds to try.

    Yields:
        Whether it is locked; False where there are no locks.

    Raises:
        OwnedError: somebody else is writing it.
        OutputError: the lock cannot be written.
    """
    lock = lock.parent.resolve() / lock.name  # a link that leads to nothing yet is no folder
    made = _missing(lock.parent)
    try:
        descriptor = _taken(lock, what, advice, time.monotonic() + wait)
    except OSError as error:
        _remove(made)
        raise OutputError.refused(what, error) from error
    try:
        if descriptor is not None:
            with suppress(OSError):  # on a full disk it is held without a name
                os.truncate(descriptor, 0)
                os.pwrite(descriptor, json.dumps(asdict(Owner.me(command))).encode(), 0)
        yield descriptor is not None
    finally:
        if descriptor is not None:
            with suppress(OSError):
                lock.unlink()
            os.close(descriptor)
        _remove(made)


@contextmanager
def owned_run(run: Path, command: str, *tasks: str) -> Iterator[None]:
    """Be the one who writes parts of a run; those of different tasks may work side by side, but none beside the mean.

    Of several processes that work together the first one is the owner.

    Args:
        run: the run's folder.
        command: what is done, such as "train-mean".
        tasks: names of what is written; :data:`MEAN` excludes all others.

    Raises:
        OwnedError: somebody else is writing that.
        OutputError: a lock cannot be written.
    """
    with ExitStack() as held:
        current().once(lambda: _own(held, run, command, tasks))
        yield


def task_lock(run: Path, task: str) -> Path:
    """The lock that stands for a task in a run."""
    return run / ".owners" / f"{task}.lock"


def _own(held: ExitStack, run: Path, command: str, tasks: Sequence[str]) -> None:
    """Take the locks of some tasks, to be given back with all that is held."""
    folder, advice = task_lock(run, MEAN).parent, "wait until it has ended, or work in another --run"
    held.callback(_remove, [folder])  # also one that a killed owner made
    for task in sorted(tasks):
        held.enter_context(owned(task_lock(run, task), f"{run} ({task})", f"diffcov {command}", advice))
    others = sorted(folder.glob("*.lock")) if MEAN in tasks else [task_lock(run, MEAN)]
    for lock in others:
        if lock.stem not in tasks and (owner := owner_of(lock)) is not None:
            raise _busy(f"{run} ({lock.stem})", owner, advice)


def owner_of(lock: Path) -> Owner | None:
    """Who holds a lock; None if nobody does, or nobody can."""
    if fcntl is None:
        return None
    try:
        descriptor = os.open(lock, os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _named(descriptor)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return None


def remove_dead(lock: Path) -> None:
    """Remove a lock that a killed owner left; one that is held stays."""
    if lock.exists():
        with suppress(OutputError), owned(lock, str(lock), "diffcov", "try again", wait=0):
            pass


def _taken(lock: Path, what: str, advice: str, until: float) -> int | None:
    """The descriptor that holds the lock; None where there are none."""
    if fcntl is None:
        return None
    gone = 0
    while True:
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # the folder went with the last owner's lock, or it takes no files, as /proc
            gone += 1
            if gone > GONE:
                raise
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still(lock, descriptor):
                return descriptor
            os.close(descriptor)  # its owner gave it back and removed it between two of our steps
        except BlockingIOError:
            owner = _named(descriptor)
            os.close(descriptor)
            if time.monotonic() > until:
                raise _busy(what, owner, advice) from None
            time.sleep(0.02)
        except OSError as error:
            os.close(descriptor)
            if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
                return None
            raise


def _is_still(lock: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(lock.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _named(descriptor: int) -> Owner:
    """The owner as its lock names it, which may not be written yet."""
    try:
        return Owner(**json.loads(os.pread(descriptor, 1 << 16, 0)))
    except (ValueError, TypeError, OSError):
        return Owner("another process", 0, "an unknown machine", "just now")


def _busy(what: str, owner: Owner, advice: str) -> OwnedError:
    return OwnedError(f"{what} is being written by {owner}; {advice}")


def _missing(folder: Path) -> list[Path]:
    """The folders on the way there that do not exist, innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def _remove(folders: list[Path]) -> None:
    """Remove those that are empty."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()
