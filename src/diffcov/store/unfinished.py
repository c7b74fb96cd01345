"""Work that is under way, on disk: its pieces are kept until all of it is done, so that a second try goes on.

A piece is a :class:`~diffcov.store.parts.Part` with the identity of the work, so that what was kept of other work is
never taken for its own. The folder has one owner, as all that is written has, and goes when the work is done.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from diffcov.processes.base import current
from diffcov.store.ownership import owned
from diffcov.store.parts import PartsFolder

__all__ = ["outlived", "unfinished", "unfinished_beside"]

ENDING = ".unfinished"
"""How the names of such folders end."""


def unfinished_beside(path: Path, key: str) -> Path:
    """The folder for pieces of what will be ``path`` one day; another for each identity of the work."""
    target = path.resolve() if path.is_symlink() else path.absolute()
    return target.with_name(f".{target.name}.{key[:12]}{ENDING}")


def outlived(path: Path, proof: Path) -> None:
    """Remove pieces kept beside ``path`` that are older than ``proof`` that it is done.

    A process that is killed between its last act and its tidying leaves them. Pieces that are younger belong to work
    that is to replace what is there, and stay.
    """
    current().once(lambda: _outlived(path, proof))


def _outlived(path: Path, proof: Path) -> None:
    if not proof.is_file():
        return
    place, done = unfinished_beside(path, ""), proof.stat().st_mtime_ns
    start = place.name.removesuffix(ENDING)
    for folder in place.parent.iterdir():
        if folder.name.startswith(start) and folder.name.endswith(ENDING):
            written = [file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()]
            if max(written, default=0) <= done:
                shutil.rmtree(folder, ignore_errors=True)


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
        held.callback(_remove_empty, folder)  # when the lock in it is given back
        current().once(lambda: held.enter_context(owned(folder / "lock", what, command, advice)))
        yield PartsFolder(folder, force=True)
        current().once(lambda: shutil.rmtree(folder, ignore_errors=True))


def _remove_empty(folder: Path) -> None:
    """Remove a folder of pieces that holds none: nothing could be kept."""
    with suppress(OSError):
        (folder / "parts").rmdir()
    with suppress(OSError):
        folder.rmdir()
