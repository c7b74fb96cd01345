"""A sweep in rounds is the sweep in one go, bit for bit, from wherever it goes on."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from diffcov.engines.sweep import estimate
from diffcov.engines.sweep_rounds import BATCHES, Swept, estimate_in_rounds
from diffcov.errors import UsageError
from diffcov.processes.base import working
from diffcov.statistics.base import Statistic
from diffcov.statistics.matrices import ResidualMatrices
from diffcov.statistics.spectrum import Spectrum
from diffcov.statistics.table import VarianceTable
from oracles.shares import Half
from oracles.tiny import tiny_examples, tiny_model

MODEL = tiny_model(20)
EXAMPLES = tiny_examples(40)
Kinds = list[type[Statistic]]
PLACED = pytest.mark.parametrize("kinds", [[VarianceTable], [Spectrum, ResidualMatrices]], ids=["all", "knots"])
TIMES = (1, 4, 5, 9, 14, 19, 20)


def swept(kinds: Kinds, **options: Any) -> dict[type[Statistic], Any]:
    """Seven times of five samples in rounds of two times."""
    options = {"first": 3, "flip": True, "seed": 1, "batch_size": 1, **options}
    return estimate_in_rounds(MODEL, EXAMPLES, kinds, TIMES, 5, **options)


def check_same(mine: dict[type[Statistic], Any], theirs: dict[type[Statistic], Any]) -> None:
    assert mine.keys() == theirs.keys()
    for kind, one in theirs.items():
        assert all(torch.equal(mine[kind].tensors()[name], value) for name, value in one.tensors().items()), kind


@PLACED
def test_rounds_change_nothing(kinds: Kinds) -> None:
    rounds: list[Swept] = []
    done: list[int] = []
    found = swept(kinds, on_round=rounds.append, on_batch=done.append)
    check_same(found, estimate(MODEL, EXAMPLES, kinds, TIMES, 5, first=3, flip=True, seed=1, batch_size=1))
    assert [one.times for one in rounds] == [2, 4, 6]
    assert done == list(range(1, 36))


@PLACED
def test_it_goes_on_from_any_round(kinds: Kinds) -> None:
    rounds: list[Swept] = []
    whole = swept(kinds, on_round=rounds.append)
    for begun in rounds:
        kept = {kind: kind.from_tensors(one.tensors()) for kind, one in begun.found.items()}
        before, done = len(MODEL.network.batches), list[int]()
        check_same(swept(kinds, begun=Swept(kept, begun.times), on_batch=done.append), whole)
        assert len(MODEL.network.batches) - before == (len(TIMES) - begun.times) * 5
        assert done[0] == begun.times * 5 + 1


@PLACED
def test_a_round_is_worth_its_merge(kinds: Kinds) -> None:
    before = len(MODEL.network.batches)
    ends: list[int] = []
    swept(kinds, on_round=lambda _: ends.append(len(MODEL.network.batches) - before))
    assert all(calls >= BATCHES for calls in (b - a for a, b in zip([0, *ends], ends, strict=False)))


@PLACED
def test_every_round_has_work_for_every_process(kinds: Kinds) -> None:
    """As much for one as for the other, though all samples of a time at a knot are one process's."""
    calls = []
    for rank in range(2):
        ends = [len(MODEL.network.batches)]
        with working(Half(rank)):
            swept(kinds, on_round=lambda _, ends=ends: ends.append(len(MODEL.network.batches)))
        calls.append(ends[1] - ends[0])
        assert len(ends) == 2, "a round of four times, and what is left"
    assert calls == [10, 10]


def test_what_cannot_be_swept() -> None:
    with pytest.raises(UsageError, match="of one placement"):
        swept([VarianceTable, Spectrum])
    with pytest.raises(UsageError, match="must be at least 1, found 5 and 0"):
        swept([VarianceTable], batch_size=0)
