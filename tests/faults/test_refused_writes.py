"""A file system that says no once: the old stays bit for bit, one sentence says why, and the next run goes on.

The n-th operation that writes is refused. The default tests take two n, the slow ones as many a command as
``DIFFCOV_REFUSALS`` says, or fewer of one that takes long, spread evenly; ``DIFFCOV_REFUSALS=1000`` takes every n of
those that write up to :data:`SHORT` times, and some hundred of the three that write the same parts over and over.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from faults.children import BROKEN, NO_SPACE, Ended
from faults.commands import COMMANDS, hidden
from faults.victims import Victim

QUICK = ["estimate-var", "sample --force"]
"""Commands of which the default tests refuse an operation in the middle."""
EACH = int(os.environ.get("DIFFCOV_REFUSALS", "5"))
ALL = 1000
"""Refusals from which on every operation of a short command is refused."""
SHORT = 500
"""Operations of a command that are refused one by one."""
REFUSALS = {"no space": NO_SPACE, "broken disk": BROKEN}


def check_refused(victim: Victim, place: Path, ended: Ended, said: str) -> None:
    """Either it was done all the same, or one sentence says that it was not and nothing good has changed."""
    assert "Traceback" not in ended.stderr, (said, ended.stderr)
    if ended.code == 0:
        victim.check_end(place, said, refused=True)
        return
    assert ended.code == 1, (said, ended.code, ended.stderr)
    lines = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, (said, ended.stderr)
    assert ended.stderr.endswith(lines[0] + "\n"), (said, ended.stderr)
    assert "could not write" in lines[0] or "could not remove" in lines[0], (said, lines)
    victim.check_whole(place, said)
    unfinished = [name for name in hidden(place) if name.endswith((".tmp", ".old", "lock"))]
    assert not unfinished, (said, unfinished)


def refuse(victim: Victim, at: int, why: str) -> None:
    """Refuse one operation, then type the command again."""
    place, said = victim.fresh(), f"{victim.command.name}, operation {at} refused: {why}"
    ended = victim.child(victim.command.typed(place), place, at=at, act=REFUSALS[why], removals=False)
    check_refused(victim, place, ended, said)
    if ended.code:
        again = victim.go_on(place, said)
        victim.check_end(place, said, refused=again.code != 0)


@pytest.mark.parametrize("name", QUICK)
def test_a_write_is_refused(name: str, victims: Callable[[str], Victim]) -> None:
    victim = victims(name)
    for at, why in ((2, "broken disk"), (victim.told.operations // 2, "no space")):
        refuse(victim, at, why)


@pytest.mark.slow
@pytest.mark.parametrize("name", [command.name for command in COMMANDS])
def test_writes_are_refused(name: str, victims: Callable[[str], Victim]) -> None:
    victim = victims(name)
    most = victim.told.operations
    each = most if EACH >= ALL and most <= SHORT else min(victim.command.share(min(EACH, 200)), most)
    for at in sorted({1 + round(k * (most - 1) / max(1, each - 1)) for k in range(each)}):
        refuse(victim, at, "no space" if at % 2 else "broken disk")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train-mean --resume", "sample", "compare", "export"])
def test_files_that_may_not_grow(name: str, victims: Callable[[str], Victim]) -> None:
    """The kernel itself refuses to write past some bytes, in the middle of a file."""
    victim = victims(name)
    for size in (4_000, 30_000):  # what it says is a file too
        place, said = victim.fresh(), f"{name}, no file past {size} bytes"
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            ended = victim.child(victim.command.typed(place), place)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        check_refused(victim, place, ended, said)
        if ended.code:
            victim.go_on(place, said)
