"""Files and folders that appear whole or not at all, and never over something good without being asked."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from diffcov.errors import OutputError
from diffcov.processes.base import current
from diffcov.store.ownership import owned

__all__ = [
    "atomic_folder",
    "atomic_write",
    "holds_something_else",
    "led_to",
    "refuse_existing",
    "refuse_unwritable",
    "write_bytes",
    "written",
]

HERE = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]
"""This machine, as temporary names tell it."""
COUNTER = itertools.count()
"""Tells the temporary names of one process apart."""


def refuse_existing(path: Path, force: bool, advice: str = "use --force to replace it, or another --out") -> None:
    """Raise OutputError if something is at ``path`` and ``force`` was not given, or if nothing can be written there."""
    if path.exists() and not force:
        raise OutputError(f"{path} already exists; {advice}")
    refuse_unwritable(path)


def refuse_unwritable(path: Path) -> None:
    """Raise OutputError where a file or folder could not be made, as far as that is known before any work."""
    there = next((above for above in led_to(path).parents if above.exists()), Path("/"))
    if not there.is_dir():
        raise OutputError(f"could not write {path}: {there} is no folder; nothing was changed, choose another place")
    if not os.access(there, os.W_OK | os.X_OK):
        raise OutputError(f"could not write {path}: {there} is not yours to write; nothing was changed, choose another")


def holds_something_else(path: Path, ours: bool) -> bool:
    """Whether what is at ``path`` is neither ours nor an empty folder: nothing may replace it, whoever asks for it."""
    return path.exists() and not ours and (not path.is_dir() or any(path.iterdir()))


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` to write to; renamed to ``path`` if the block succeeds, removed if not.

    No two writers share a temporary name, and what a killed one left is removed by the next. Behind a symbolic link it
    is the link's target that is written.

    Raises:
        OutputError: the file system refuses (no space, no permission), or a folder or a device is there; nothing is
            changed.
    """
    target = led_to(path)
    if target.exists() and not target.is_file():
        what = "a folder" if target.is_dir() else "no ordinary file"
        raise OutputError(f"could not write {path}: it is {what}; nothing was changed, choose another place")
    temporary = _beside(target, f"{HERE}-{os.getpid()}-{next(COUNTER)}.tmp")
    try:
        target.parent.resolve().mkdir(parents=True, exist_ok=True)
        _sweep(target)
        temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)  # whoever writes may have made it private; it is as open as the user's umask says
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(target)
    except (OSError, SafetensorError) as error:
        raise OutputError.refused(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file at once, or (OutputError) nothing."""
    written(path, lambda temporary: temporary.write_bytes(content))


def written(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file whole or not at all, by the first process alone; no other goes on before it is there.

    Args:
        path: the file.
        write: called with a temporary name to write to, see :func:`atomic_write`.

    Raises:
        OutputError: the file system refuses, with nothing changed.
    """

    def act() -> None:
        with atomic_write(path) as temporary:
            write(temporary)

    current().once(act)


@contextmanager
def atomic_folder(path: Path, command: str = "diffcov", *, replace: bool = True) -> Iterator[Path]:
    """A temporary folder beside ``path`` to fill; it becomes ``path`` if the block succeeds, and is removed if not.

    It has one owner while it is filled. An existing folder at ``path`` is set aside once the new one is complete, and
    put back if the move fails. Behind a symbolic link it is the link's target that is written.

    Args:
        path: the folder.
        command: what fills it, for those who would do so too.
        replace: whether one that is there, or has come to be there meanwhile, may be replaced.

    Raises:
        OutputError: somebody else is filling it, it is there, or the file system refuses (no space, no permission);
            nothing is changed.
    """
    target = led_to(path)
    advice = "wait until it has ended, or choose another --out"
    with owned(_beside(target, "lock"), str(path), command, advice) as locked:
        mark = "" if locked else f"{HERE}-{os.getpid()}."
        temporary, old = _beside(target, f"{mark}tmp"), _beside(target, f"{mark}old")
        try:
            _put_back(old, target)
            refuse_existing(target, replace)
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.parent.resolve().mkdir(parents=True, exist_ok=True)
            temporary.mkdir()
            yield temporary
            refuse_existing(target, replace)
            if target.exists():
                target.rename(old)
            temporary.rename(target)
        except OSError as error:
            raise OutputError.refused(path, error) from error
        finally:
            with suppress(OSError):
                _put_back(old, target)
            shutil.rmtree(temporary, ignore_errors=True)


def _put_back(old: Path, path: Path) -> None:
    """What was set aside returns if nothing took its place, and goes if something did."""
    if old.exists() and not path.exists():
        old.rename(path)
    elif old.is_dir():
        shutil.rmtree(old)
    else:
        old.unlink(missing_ok=True)


def led_to(path: Path) -> Path:
    """Where a path leads, if it is a symbolic link: what is written goes there. Others become absolute only."""
    return path.resolve() if path.is_symlink() else path.absolute()


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f".{path.name}.{suffix}")


def _sweep(target: Path) -> None:
    """Remove temporary files of ``target`` whose writers on this machine are dead."""
    start = f".{target.name}.{HERE}-"
    for left in target.parent.iterdir():
        pid, _, rest = left.name.removeprefix(start).partition("-")
        if left.name.startswith(start) and left.name.endswith(".tmp") and rest and pid.isdigit() and _dead(int(pid)):
            with suppress(OSError):
                left.unlink()


def _dead(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
