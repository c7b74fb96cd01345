"""A wish to stop: heard once, obeyed at once the second time, and never forgotten."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from diffcov.cli.interrupt import listen, stop_requests
from diffcov.cli.progress import Lines
from diffcov.errors import Interrupted


def test_nobody_asked() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_requests() as stop:
        assert signal.getsignal(signal.SIGTERM) != before
        assert not stop()
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_task_that_obeys(number: int) -> None:
    with pytest.raises(Interrupted, match="all is saved"), stop_requests() as stop:
        os.kill(os.getpid(), number)
        assert stop()
        raise Interrupted("all is saved")


def test_twice_is_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), stop_requests():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("went on")


def test_a_wish_that_came_too_late_for_the_task_ends_what_follows() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt):
        with stop_requests():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("the last step, and what it saves")
        pytest.fail("the next task began")
    assert done


def test_threads_hear_nothing() -> None:
    heard = []

    def task() -> None:
        with stop_requests() as stop:
            heard.append(stop())

    thread = Thread(target=task)
    thread.start()
    thread.join()
    assert heard == [False]


@pytest.fixture
def listening() -> Iterator[None]:
    """The program's own handlers, put back afterwards."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    listen()
    yield
    listen()  # forgets what was heard
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_that_is_lost_is_raised_again(listening: None, number: int) -> None:
    """As C code loses one that is raised in what it asks of an object."""
    told = Lines("task", 10, "images")
    told.update(1)
    with suppress(KeyboardInterrupt):
        os.kill(os.getpid(), number)
    with pytest.raises(KeyboardInterrupt):
        told.update(2)
    with pytest.raises(Interrupted), stop_requests() as stop:
        assert stop(), "a training that begins now ends at once"
        raise Interrupted("all is saved")


def test_an_error_that_is_an_interrupt_in_other_words(listening: None, cli: Any, tmp_path: Path) -> None:
    """A library may make of an interrupt that a file cannot be read."""
    with suppress(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    found = cli("inspect", tmp_path / "nowhere")
    assert (found.exit_code, found.stdout) == (130, "")
    assert found.stderr == "interrupted; nothing half-written was left\n"


def test_an_ignored_interrupt_stays_ignored(listening: None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    listen()
    os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
