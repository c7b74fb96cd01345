"""How much memory images may take, and where decoded ones are kept."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from diffcov.errors import UsageError
from diffcov.processes.base import current

__all__ = ["Room", "available_memory"]

SHARE = 0.5
"""Of the available memory, what images may take unasked."""


@dataclass(frozen=True)
class Room:
    """Where images may be.

    Args:
        memory: bytes that images may take; more of them stay on disk and are read as they are needed. None is half of
            what is available, shared by the processes of a machine.
        cache: a folder where pictures are kept decoded, from one command to the next; None keeps none.

    Raises:
        UsageError: a negative memory.
    """

    memory: int | None = None
    cache: Path | None = None

    def __post_init__(self) -> None:
        if self.memory is not None and self.memory < 0:
            raise UsageError(f"--memory must be at least 0, found {self.memory / 1e9:g}")

    @property
    def bytes(self) -> int:
        """What images may take in memory."""
        return int(SHARE * available_memory() / current().local_size) if self.memory is None else self.memory


def available_memory() -> int:
    """Bytes that a process can still take: what the kernel says is available, and what a container's limit leaves."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for line in _text(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemAvailable:"):
            limits.append(int(line.split()[1]) << 10)
    group = Path("/sys/fs/cgroup")
    limit, used = _text(group / "memory.max").strip(), _text(group / "memory.current").strip()
    if limit.isdecimal() and used.isdecimal():
        limits.append(max(0, int(limit) - int(used)))
    return min(limits)


def _text(path: Path) -> str:
    """The content of a file of the kernel; empty where there is none."""
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""
