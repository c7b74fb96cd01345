"""Files and folders that appear whole or not at all, and never over something good without being asked."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from diffcov.errors import OutputError

__all__ = ["atomic_folder", "atomic_write", "holds_something_else", "refuse_existing", "write_bytes"]


def refuse_existing(path: Path, force: bool, advice: str = "use --force to replace it, or another --out") -> None:
    """Raise OutputError if something is at ``path`` and ``force`` was not given."""
    if path.exists() and not force:
        raise OutputError(f"{path} already exists; {advice}")


def holds_something_else(path: Path, ours: bool) -> bool:
    """Whether what is at ``path`` is neither ours nor an empty folder: nothing may replace it, whoever asks for it."""
    return path.exists() and not ours and (not path.is_dir() or any(path.iterdir()))


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` to write to; renamed to ``path`` if the block succeeds, removed if not.

    The temporary name is always the same, so that what a killed process left is overwritten by the next write.

    Raises:
        OutputError: the file system refuses (no space, no permission), with nothing changed.
    """
    temporary = _beside(path, "tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)  # whoever writes may have made it private; it is as open as the user's umask says
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        raise _refused(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file at once, or (OutputError) nothing."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside ``path`` to fill; it becomes ``path`` if the block succeeds, and is removed if not.

    An existing folder at ``path`` is set aside once the new one is complete, and put back if the move fails.

    Raises:
        OutputError: the file system refuses (no space, no permission), with nothing changed.
    """
    temporary, old = _beside(path, "tmp"), _beside(path, "old")
    try:
        _put_back(old, path)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        if path.exists():
            path.rename(old)
        temporary.rename(path)
    except OSError as error:
        raise _refused(path, error) from error
    finally:
        with suppress(OSError):
            _put_back(old, path)
        shutil.rmtree(temporary, ignore_errors=True)


def _put_back(old: Path, path: Path) -> None:
    """What was set aside returns if nothing took its place, and goes if something did."""
    if old.exists() and not path.exists():
        old.rename(path)
    elif old.is_dir():
        shutil.rmtree(old)
    else:
        old.unlink(missing_ok=True)


def _beside(path: Path, suffix: str) -> Path:
    return path.absolute().with_name(f".{path.absolute().name}.{suffix}")


def _refused(path: Path, error: Exception) -> OutputError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return OutputError(
        f"could not write {path}: {reason}; nothing was changed, free some space or choose another place"
    )
