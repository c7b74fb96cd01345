"""Folders written whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diffcov.errors import OutputError

__all__ = ["atomic_folder"]


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside ``path`` to fill; it becomes ``path`` if the block succeeds, and is removed if not.

    An existing folder at ``path`` is replaced, and only once the new one is complete.

    Raises:
        OutputError: the file system refuses (no space, no permission), with nothing changed.
    """
    temporary, old = path.with_name(f".{path.name}.tmp"), path.with_name(f".{path.name}.old")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
            path.rename(old)
        temporary.rename(path)
    except OSError as error:
        raise OutputError(
            f"could not write {path}: {error.strerror or error}; nothing was changed, free some space or choose "
            "another place"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
