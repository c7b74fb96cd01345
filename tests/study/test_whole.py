"""One progress for many parts: what was planned, what is done, and what is left are always right."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from diffcov.study.whole import CALLS, Whole, whole_task
from oracles.listening import Heard, Recorder


@pytest.fixture
def whole() -> Callable[[float], tuple[Whole, Heard, Recorder]]:
    """A whole of so many calls, the one bar that it moves, and who hears it."""

    def made(planned: float) -> tuple[Whole, Heard, Recorder]:
        outside, bar = Recorder(), Heard("all", planned, CALLS)
        return Whole(outside, bar, planned), bar, outside

    return made


Made = Callable[[float], tuple[Whole, Heard, Recorder]]


def test_parts_add_up(whole: Made) -> None:
    one, bar, _ = whole(30)
    with one.progress("first", 10, CALLS) as part:
        part.update(4, "half of it")
        assert (bar.told[-1], bar.total) == ((4, "first: half of it"), 30)
        part.update(10)
    with one.progress("second", 20, CALLS) as part:
        part.update(5)
        assert (bar.done, bar.total) == (15, 30)
        part.update(20)
    assert (bar.done, bar.total) == (30, 30)


@pytest.mark.parametrize(("reached", "total"), [(3, 23), (10, 30), (25, 45)])
def test_a_part_of_another_length_changes_the_total_by_that(whole: Made, reached: float, total: float) -> None:
    one, bar, _ = whole(30)
    with one.progress("first", 10, CALLS) as part:
        part.update(reached)
        assert bar.total == max(30, total)
    with one.progress("second", 20, CALLS) as part:
        part.update(1)
    assert (bar.told[-2][0], bar.total) == (reached + 1, reached + 1)
    assert bar.told[-3][0] == reached, "the second begins where the first ended"


def test_a_total_that_gets_better_known_is_heard(whole: Made) -> None:
    one, bar, _ = whole(100)
    with one.progress("training", 40, CALLS) as part:
        part.update(1, total=20)
        assert bar.total == 80
        part.update(2, total=60)
        assert bar.total == 120


def test_units_have_their_costs_and_others_move_nothing(whole: Made) -> None:
    one, bar, _ = whole(1000)
    with one.stage(600, iterations=3) as told:
        with told.progress("training", 200, "iterations") as part:
            part.update(50)
            assert (bar.done, bar.total) == (150, 1000)
            part.update(200)
        with told.progress("download", 5e6, "bytes") as part:
            part.update(4e6, "of a file")
            assert (bar.told[-1], bar.total) == ((600, "download: of a file"), 1000)
    with one.stage(400) as told, told.progress("compare", 400, CALLS) as part:
        part.update(400)
    assert (bar.done, bar.total) == (1000, 1000)


def test_nothing_is_left_of_a_stage_that_is_over(whole: Made) -> None:
    """What was done before, or ended early, leaves the total."""
    one, bar, _ = whole(1000)
    with one.stage(600):
        pass
    assert (bar.done, bar.total) == (0, 400)
    with one.stage(300, images=1) as told, told.progress("sweep", 100, "images") as part:
        part.update(100)
    assert (bar.done, bar.total) == (100, 200)


def test_wholes_nest(whole: Made) -> None:
    one, bar, _ = whole(50)
    with one.stage(40) as told, whole_task(told, "compare", 40) as inner, inner.progress("cell", 20, CALLS) as part:
        part.update(5, "x")
        assert (bar.told[-1], bar.total) == ((5, "compare: cell: x"), 50)


def test_who_listens_outside_hears_all_else(whole: Made) -> None:
    one, _, outside = whole(1)
    one.note("a note")
    one.warn("a warning")
    assert (outside.notes, outside.warnings) == (["a note"], ["a warning"])
    assert [one.first_time("x"), one.first_time("x")] == [True, False]
    with one.stop_requests() as stop:
        assert not stop()
    with whole_task(outside, "all", 7) as told:
        told.note("inside")
    assert (outside.tasks[0].title, outside.tasks[0].total, outside.tasks[0].unit) == ("all", 7, CALLS)
    assert outside.said("inside")
