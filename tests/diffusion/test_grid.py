"""Which times are visited: for every K, exactly K of them, strictly increasing and in range."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from diffcov.diffusion.grid import TRAJECTORIES, Trajectory, even, explicit, quad
from diffcov.diffusion.grid import ddim as ddim_times
from diffcov.errors import UsageError

T = 1000


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 7, 10, 21, 100, T])
@pytest.mark.parametrize("name", TRAJECTORIES)
def test_every_k_gives_k_rising_times(name: str, length: int) -> None:
    for K in range(1, length + 1):
        times = TRAJECTORIES[name](length, K).times
        assert len(times) == K
        assert all(a < b for a, b in pairwise(times))
        assert times[0] >= 1
        assert times[-1] <= length
        assert all(type(t) is int for t in times)


def test_even_includes_both_ends() -> None:
    for K in range(2, T + 1):
        times = even(T, K).times
        assert (times[0], times[-1]) == (1, T)


def test_even_spacing_is_even() -> None:
    """No gap differs from (T-1)/(K-1) by more than rounding both of its ends can do."""
    for K in range(2, T + 1):
        assert np.abs(np.diff(even(T, K).times) - (T - 1) / (K - 1)).max() <= 1


def test_even_by_hand() -> None:
    assert even(T, 1).times == (T,)
    assert even(T, 4).times == (1, 334, 667, 1000)
    assert even(10, 10).times == tuple(range(1, 11))


def test_ddim_has_one_stride() -> None:
    assert ddim_times(T, 10).times == (1, 101, 201, 301, 401, 501, 601, 701, 801, 901)
    for K in range(1, T + 1):
        assert ddim_times(T, K).times == tuple(range(1, T + 1, T // K))[:K]


@pytest.mark.parametrize("K", range(2, 30))
def test_quad_is_the_published_one_while_it_has_no_repeats(K: int) -> None:
    published = [int(v) + 1 for v in np.linspace(0, np.sqrt(T * 0.8), K) ** 2]
    assert quad(T, K).times == tuple(published)


def test_quad_moves_only_repeated_times() -> None:
    """From K = 30 on the published times repeat; the first repeat moves on by one, the last times stay."""
    published = [int(v) + 1 for v in np.linspace(0, np.sqrt(T * 0.8), 30) ** 2]
    assert len(set(published)) < 30
    assert quad(T, 30).times[3:] == tuple(published[3:])


@pytest.mark.parametrize("name", TRAJECTORIES)
@pytest.mark.parametrize("K", [0, -1, T + 1, 1500])
def test_more_or_fewer_steps_than_there_are_is_refused(name: str, K: int) -> None:
    with pytest.raises(UsageError, match=rf"between 1 and T={T} \(got {K}\)"):
        TRAJECTORIES[name](T, K)


def test_explicit_keeps_the_times() -> None:
    assert explicit(T, [3, 70, 999]).times == (3, 70, 999)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([], "at least one time"),
        ([0, 5], "1..T=1000, found 0"),
        ([5, 1001], "1..T=1000, found 1001"),
        ([5, 5], "strictly increase, found 5 before 5"),
        ([1, 9, 4], "strictly increase, found 9 before 4"),
    ],
)
def test_explicit_refusals(times: list[int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        explicit(T, times)


def test_pairs_run_backwards_to_the_data() -> None:
    assert list(Trajectory("explicit", 10, (2, 5, 9)).pairs()) == [(5, 9), (2, 5), (0, 2)]
    assert list(Trajectory("explicit", 10, (7,)).pairs()) == [(0, 7)]


@pytest.mark.parametrize("name", TRAJECTORIES)
def test_a_trajectory_knows_its_length_and_name(name: str) -> None:
    trajectory = TRAJECTORIES[name](T, 17)
    assert (trajectory.name, trajectory.T, trajectory.K) == (name, T, 17)
    assert len(list(trajectory.pairs())) == 17
