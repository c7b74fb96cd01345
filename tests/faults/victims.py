"""A command that something happens to, and what it must leave."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from conftest import run_cli
from faults.children import Ended, child
from faults.commands import Command, hidden, small, whole

ON_THE_WAY = ("state/", "parts/", "samples/training/")
"""Below these stand states of work that is under way; they are whole, and neither the old nor the last."""


class Victim:
    """A command, what it begins from, and what comes of it when nobody kills it."""

    def __init__(self, command: Command, base: Path | None, folder: Path) -> None:
        self.command, self.base, self.folder = command, base, folder
        start, end = folder / "start", folder / "end"
        command.prepare(base, start, run_cli)
        shutil.copytree(start, end)
        self.old = whole(start)
        self.told = self.child(command.typed(end), end)
        assert self.told.code == 0, self.told.stderr
        self.new = whole(end)
        assert not [name for name in hidden(end) if name not in hidden(start)], "nothing is left beside"

    def child(self, words: list[object], place: Path, **how: Any) -> Ended:
        """Run the program as :func:`faults.children.child` does, with short searches, and everything kept at once."""
        with small():
            return child(words, place, **how)

    def fresh(self) -> Path:
        """A copy of what it begins from."""
        place = self.folder / "place"
        shutil.rmtree(place, ignore_errors=True)
        return Path(shutil.copytree(self.folder / "start", place))

    def check_whole(self, place: Path, said: str) -> None:
        """Each file is the old one or the new one."""
        found = whole(place)
        set_aside = any(name.endswith(".old") for name in hidden(place))
        for name, content in found.items():
            if not any(part in name for part in ON_THE_WAY):
                assert name in self.old or name in self.new, (name, said)
                allowed = [known[name] for known in (self.old, self.new) if name in known]
                assert content is None or content in allowed or self._between(name), (name, said)
        gone = self.old.keys() - found.keys()
        assert set_aside or gone <= self.old.keys() - self.new.keys(), (sorted(gone), said)
        assert set_aside or not gone or self.new.keys() <= found.keys(), ("gone before the new was there", said)

    def _between(self, name: str) -> bool:
        """Whether a file is written several times by design: a mean and heads at every save, demo's whole run."""
        return "train" in self.command.name or "head" in name

    def check_end(self, place: Path, said: str, refused: bool) -> None:
        """All is as if nobody had killed it; done before, a lock or temporary file may be left."""
        found = whole(place)
        assert found.keys() == self.new.keys(), (sorted(found.keys() ^ self.new.keys()), said)
        differing = [name for name in found if found[name] != self.new[name]]
        assert not differing, (differing, said)
        left = [name for name in hidden(place) if name not in hidden(self.folder / "start")]
        assert not [name for name in left if not (refused and name.endswith((".lock", ".tmp")))], (left, said)

    def go_on(self, place: Path, said: str) -> Ended:
        """Type it again; work that is done may be refused as being there."""
        words = self.command.again(place)
        ended = self.child(words, place)
        if ended.code == 1 and "already exists" in ended.stderr:
            return ended
        assert ended.code == 0, (said, words, ended.stderr)
        assert "Traceback" not in ended.stderr, (said, ended.stderr)
        return ended
