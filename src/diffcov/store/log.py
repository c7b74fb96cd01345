"""The run's log: one JSON object a line, appended; rewound when a training goes back to an earlier state."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from diffcov.errors import OutputError
from diffcov.processes.base import current
from diffcov.store.atomic import atomic_write
from diffcov.store.ownership import owned

__all__ = ["RunLog"]

TURN = 10.0
"""Seconds to wait for another command that writes a line."""


class RunLog:
    """Lines of one command in a shared ``log.jsonl``.

    Args:
        path: the file; made on the first line.
        command: written into every line, so that several commands share the file.
        part: of the command, written too if it is not empty; lines of an earlier version, which name none, are of any.
    """

    def __init__(self, path: Path, command: str, part: str = "") -> None:
        self.path = path
        self.command = command
        self.part = part

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one line, if this is the first process.

        Raises:
            OutputError: the file system refuses.
        """
        if not current().first:
            return
        line = json.dumps({"command": self.command, **({"part": self.part} if self.part else {}), **record})
        try:
            with self._alone(), self.path.open("a", encoding="utf-8") as opened:
                opened.write(line + "\n")
        except OSError as error:
            raise OutputError(f"could not write {self.path}: {error.strerror}; free some space") from error

    def rewind(self, iteration: int) -> None:
        """Drop this command's lines past ``iteration``: they belong to work that was lost and is done again.

        A last line cut short by a kill is dropped as well; lines of other commands and parts stay.
        """
        current().once(lambda: self._rewind(iteration))

    def _rewind(self, iteration: int) -> None:
        if not self.path.is_file():
            return
        with self._alone():
            lines = self.path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if self._keeps(line, iteration)]
            with atomic_write(self.path) as temporary:
                temporary.write_text("".join(line + "\n" for line in kept), encoding="utf-8")

    def _alone(self) -> AbstractContextManager[bool]:
        """While no other command writes the file: a line that came while it is written anew would be lost."""
        lock = self.path.with_name(f".{self.path.name}.lock")
        return owned(lock, str(self.path), f"diffcov {self.command}", "try again", wait=TURN)

    def _keeps(self, line: str, iteration: int) -> bool:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            return False
        if not isinstance(record, dict) or record.get("command") != self.command:
            return True
        if record.get("part", self.part) != self.part:
            return True
        return bool(record.get("iteration", 0) <= iteration)
