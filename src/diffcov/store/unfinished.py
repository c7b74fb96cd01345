"""Work that is under way, on disk: its pieces are kept until all of it is done, so that a second try goes on.

A piece is a :class:`~diffcov.store.parts.Part` with the identity of the work, so that what was kept of other work is
never taken for its own. The folder has one owner, as all that is written has, and goes when the work is done.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from diffcov.errors import OutputError
from diffcov.processes.base import current
from diffcov.store.atomic import led_to
from diffcov.store.ownership import PATIENCE, owned
from diffcov.store.parts import PartsFolder

__all__ = ["outlived", "unfinished", "unfinished_beside"]

ENDING = ".unfinished"
"""How the names of such folders end."""
DIGITS = 12
"""Of the identity of the work, in such a name."""
PARTS = "parts"
"""The pieces in such a folder."""
DONE = "done"
"""What the pieces are called once their work is done, until they are removed: nobody goes on with a half of them."""


def unfinished_beside(path: Path, key: str) -> Path:
    """The folder for pieces of what will be ``path`` one day; another for each identity of the work."""
    target = led_to(path)
    return target.with_name(f".{target.name}.{key[:DIGITS]}{ENDING}")


def outlived(path: Path, proof: Path) -> None:
    """Remove pieces kept beside ``path`` that are older than ``proof`` that it is done.

    A process that is killed between its last act and its tidying leaves them. Pieces that are younger belong to work
    that is to replace what is there, and stay, as do those that somebody is working with.
    """
    current().once(lambda: _outlived(path, proof))


def _outlived(path: Path, proof: Path) -> None:
    if not proof.is_file():
        return
    target, done = led_to(path), proof.stat().st_mtime_ns
    ours = re.compile(rf"{re.escape(f'.{target.name}.')}[0-9a-f]{{{DIGITS}}}{re.escape(ENDING)}")
    for folder in [one for one in target.parent.iterdir() if ours.fullmatch(one.name) and one.is_dir()]:
        with suppress(OutputError), ExitStack() as held:  # somebody else has it, or nothing can be removed
            _own(held, folder, str(path), "diffcov", "wait until it has ended", wait=0.0)
            written = [file.stat().st_mtime_ns for file in (folder / PARTS).glob("*")]
            if max(written, default=0) <= done:
                _drop(folder)


@contextmanager
def unfinished(folder: Path, what: str, command: str, advice: str) -> Iterator[PartsFolder]:
    """A place for pieces of work while the block runs; they go if it succeeds, and stay if it does not.

    Of several processes that work together the first one is the owner.

    Args:
        folder: where the pieces are; made with the first of them.
        what: the work, in words.
        command: what does it.
        advice: what to do if somebody else is doing it.

    Raises:
        OutputError: somebody else is doing this work, or the file system refuses.
    """
    with ExitStack() as held:
        current().once(lambda: _own(held, folder, what, command, advice))
        yield PartsFolder(folder, force=True)
        current().once(lambda: _drop(folder))


def _own(held: ExitStack, folder: Path, what: str, command: str, advice: str, wait: float = PATIENCE) -> None:
    """Be the owner of a folder of pieces while ``held`` is open; if it is empty then, it goes.

    Pieces are removed while the lock is held, and the lock by its owner alone: a folder that is removed with the lock
    in it could already be somebody else's.
    """
    held.callback(_remove_empty, folder)
    held.enter_context(owned(folder / "lock", what, command, advice, wait))
    held.callback(_remove_empty, folder / PARTS)
    shutil.rmtree(folder / DONE, ignore_errors=True)


def _drop(folder: Path) -> None:
    """Remove the pieces, all of them at one moment where the file system lets it."""
    with suppress(OSError):
        (folder / PARTS).rename(folder / DONE)
    for name in (PARTS, DONE):
        shutil.rmtree(folder / name, ignore_errors=True)


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()
