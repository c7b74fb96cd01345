"""Writes behind the back of the work: in order, bounded, all of them, and none of their errors lost."""

from __future__ import annotations

import threading
import time

import pytest

from diffcov.store.behind import WAITING, Behind


def test_everything_is_written_in_order_when_it_ends() -> None:
    done: list[int] = []
    with Behind() as behind:
        for number in range(20):
            behind.do(lambda number=number: done.append(number))
    assert done == list(range(20))


def test_the_work_goes_on_meanwhile_and_not_too_far() -> None:
    go = threading.Event()
    threading.Timer(0.3, go.set).start()
    started = time.monotonic()
    with Behind() as behind:
        for _ in range(WAITING):
            behind.do(go.wait)
        assert time.monotonic() - started < 0.3, "nobody waits for so few"
        behind.do(go.wait)
        assert go.is_set(), "for more, somebody does"


@pytest.mark.parametrize("after", [0, WAITING + 2])
def test_an_error_is_raised_by_a_later_call_or_at_the_end(after: int) -> None:
    done: list[int] = []

    def fail() -> None:
        raise OSError("full")

    with pytest.raises(OSError, match="full"), Behind() as behind:
        behind.do(fail)
        for number in range(after):
            behind.do(lambda number=number: done.append(number))
    assert len(done) <= WAITING + 1


def test_what_waits_is_dropped_where_the_work_fails() -> None:
    done: list[int] = []
    with pytest.raises(RuntimeError, match="mine"), Behind() as behind:
        behind.do(lambda: time.sleep(0.1))
        behind.do(lambda: done.append(1))
        raise RuntimeError("mine")
    assert done == []
