"""kill -9 at random points of every writing command: each file is the old or the new one, and the next run goes on.

``DIFFCOV_KILLS=200 pytest tests/faults/test_kills.py -k kills -m slow`` tries 200 of them; ``DIFFCOV_KILLS_SEED``
chooses others.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from typing import Any

import pytest

from faults.children import moment
from faults.commands import COMMANDS
from faults.victims import Victim

KILLS = int(os.environ.get("DIFFCOV_KILLS", "20"))
SEED = int(os.environ.get("DIFFCOV_KILLS_SEED", "20261126"))
QUICK = ["train-mean", "sample --force", "evaluate"]
"""Commands that are killed once each in the default tests."""


def kill(victim: Victim, point: dict[str, Any]) -> None:
    place, said = victim.fresh(), f"{victim.command.name} killed {point}"
    ended = victim.child(victim.command.typed(place), place, **point)
    assert ended.killed or ended.code == 0, (said, ended.code, ended.stderr)
    victim.check_whole(place, said)
    ended = victim.go_on(place, said)
    victim.check_end(place, said, refused=ended.code != 0)


@pytest.mark.parametrize("name", QUICK)
def test_a_kill(name: str, victims: Callable[[str], Victim]) -> None:
    victim = victims(name)
    kill(victim, {"at": victim.told.operations // 2})


@pytest.mark.slow
def test_kills(victims: Callable[[str], Victim]) -> None:
    sys.stdout.write(f"DIFFCOV_KILLS={KILLS} DIFFCOV_KILLS_SEED={SEED}\n")
    chosen = random.Random(SEED)
    names = [command.name for command in COMMANDS]
    weights = [command.weight for command in COMMANDS]
    order = names[:KILLS] + chosen.choices(names, weights, k=max(0, KILLS - len(names)))
    for number, name in enumerate(order, 1):
        victim = victims(name)
        point = moment(chosen, victim.told.operations, victim.told.seconds)
        kill(victim, point)
        sys.stdout.write(f"{number}: {name} killed {point}\n")
