"""Commands as victims, made once for all tests of faults."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from faults.commands import COMMANDS
from faults.victims import Victim


@pytest.fixture(scope="session")
def victims(trained: Path, finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Victim]:
    """A command by its name; what it begins from, and what comes of it, is made at its first use."""
    bases = {"none": None, "trained": trained, "full": finished}
    made: dict[str, Victim] = {}

    def victim(name: str) -> Victim:
        if name not in made:
            command = next(one for one in COMMANDS if one.name == name)
            made[name] = Victim(command, bases[command.base], tmp_path_factory.mktemp("victim"))
        return made[name]

    return victim
