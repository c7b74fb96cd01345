"""Where a chain begins, and whether noise is the right beginning."""

from __future__ import annotations

import math

import pytest

from diffcov.diffusion.beginning import LATE, Beginning
from diffcov.diffusion.grid import explicit
from diffcov.diffusion.grids import GRIDS, make_grid
from diffcov.diffusion.schedule import FAMILIES


def test_it_is_the_last_time_of_the_grid() -> None:
    schedule = FAMILIES["linear"](1000)
    begins = Beginning.of(explicit(1000, [1, 40, 501]), schedule)
    assert begins.as_dict() == {"time": 501, "alpha_bar": float(schedule.alpha_bar[501])}
    assert str(begins) == (
        "the chain begins at t = 501 of 1000, where alpha_bar is 0.078: pure noise enters there, although images still "
        "have 28 % of their contrast"
    )


def test_late_is_above_the_limit() -> None:
    assert Beginning(5, 10, 1.01 * LATE).late
    assert not Beginning(5, 10, LATE).late


@pytest.mark.parametrize("family", ["linear", "cosine"])
@pytest.mark.parametrize("name", GRIDS)
def test_grids_that_end_at_t_begin_in_noise(family: str, name: str) -> None:
    schedule = FAMILIES[family](1000)
    for K in (2, 5, 10, 50):
        grid = make_grid(name, schedule, K)
        begins = Beginning.of(grid, schedule)
        assert begins.late == (schedule.alpha_bar[grid.times[-1]] > LATE)
        if grid.times[-1] == 1000:
            assert not begins.late


@pytest.mark.parametrize(
    ("family", "name", "K", "late"),
    [
        ("linear", "stride", 2, True), ("linear", "stride", 5, False), ("linear", "quad", 10, False),
        ("cosine", "stride", 5, True), ("cosine", "stride", 10, True), ("cosine", "stride", 50, False),
        ("cosine", "quad", 10, True),
    ],
)  # fmt: skip
def test_published_grids(family: str, name: str, K: int, late: bool) -> None:
    """Along the linear schedule the usual ones begin where noise drowns images, along the cosine one some do not."""
    schedule = FAMILIES[family](1000)
    assert Beginning.of(make_grid(name, schedule, K), schedule).late == late


def test_the_threshold_is_where_brightness_drowns() -> None:
    """The mean of 32x32 pixels with a variance of 1/16 between images: closed form of its signal-to-noise ratio."""
    ratio = LATE * (1 / 16) / ((1 - LATE) / 1024)
    assert ratio == pytest.approx(1 / 3, rel=0.05)
    assert math.isclose(16 / 1024, 0.016, rel_tol=0.05), "where it is one"
