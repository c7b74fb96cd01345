"""Ctrl-C and SIGTERM at random moments of every writing command: answered in seconds, and the next run goes on."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable

import pytest

from faults.children import Ended, interrupt
from faults.commands import COMMANDS
from faults.test_kills import SEED
from faults.victims import Victim

PATIENCE = 5.0
"""Seconds in which a signal is answered."""
EACH = int(os.environ.get("DIFFCOV_SIGNALS", "1"))
"""Pairs of signals a command in the slow tests, by the clock and at a file operation; fewer of slow commands."""
QUICK = ["sample"]


def check_answered(victim: Victim, ended: Ended, said: str) -> None:
    assert ended.code in (0, 130), (said, ended.code, ended.stderr)
    assert ended.answered < PATIENCE, (said, ended.answered)
    assert "Traceback" not in ended.stderr, (said, ended.stderr)
    if ended.code == 130:
        assert ended.stdout == "", (said, ended.stdout)
        words = ("interrupted; nothing half-written was left", "stopped at iteration ", "Aborted")
        last = ended.stderr.strip().splitlines()[-1:]
        assert not last or last[0].startswith(words), (said, last)  # typer answers where no command has begun
        assert "error:" not in ended.stderr, (said, ended.stderr)


def interrupted(victim: Victim, **how: object) -> Ended:
    """A command that is interrupted, and typed again."""
    place, said = victim.fresh(), f"{victim.command.name} interrupted {how}"
    ended = victim.child(victim.command.typed(place), place, **how)
    check_answered(victim, ended, said)
    victim.check_whole(place, said)
    again = victim.go_on(place, said)
    victim.check_end(place, said, refused=again.code != 0)
    return ended


@pytest.mark.parametrize("name", QUICK)
def test_ctrl_c_while_something_is_written(name: str, victims: Callable[[str], Victim]) -> None:
    victim = victims(name)
    ended = interrupted(victim, at=victim.told.operations // 2, act=interrupt, removals=False)
    assert ended.code == 130


@pytest.mark.slow
@pytest.mark.parametrize("name", [command.name for command in COMMANDS])
def test_signals_at_random_moments(name: str, victims: Callable[[str], Victim]) -> None:
    victim, chosen = victims(name), random.Random(f"{SEED} {name}")
    for number in range(victim.command.share(EACH)):
        which = signal.SIGTERM if number % 2 else signal.SIGINT
        interrupted(victim, after=chosen.uniform(0.0, 1.0) * victim.told.seconds, number=which)
        interrupted(victim, at=chosen.randint(1, victim.told.operations), act=interrupt, removals=False)
