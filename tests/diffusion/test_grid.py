"""Which times are visited: for every K, exactly K of them, strictly increasing and in range."""

from __future__ import annotations

import warnings
from fractions import Fraction
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch

from diffcov.diffusion.grid import Grid, explicit
from diffcov.diffusion.grids import ALIASES, GRIDS, even, make_grid, quad, stride
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import UsageError

T = 1000


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 7, 10, 21, 100, T])
@pytest.mark.parametrize("name", GRIDS)
def test_every_k_gives_k_rising_times(name: str, length: int) -> None:
    for K in range(1, length + 1):
        times = GRIDS[name](NoiseSchedule.cosine(length), K).times
        assert len(times) == K
        assert all(a < b for a, b in pairwise(times))
        assert times[0] >= 1
        assert times[-1] <= length
        assert all(type(t) is int for t in times)


@cache
def every_even() -> dict[int, tuple[int, ...]]:
    """K -> the times of the even grid of T = 1000, for K = 2..T."""
    return {K: even(T, K).times for K in range(2, T + 1)}


def test_even_includes_both_ends() -> None:
    for times in every_even().values():
        assert (times[0], times[-1]) == (1, T)


def test_even_spacing_is_even() -> None:
    """No gap differs from (T-1)/(K-1) by more than rounding both of its ends can do."""
    for K, times in every_even().items():
        assert np.abs(np.diff(times) - (T - 1) / (K - 1)).max() <= 1


def test_even_by_hand() -> None:
    assert even(T, 1).times == (T,)
    assert even(T, 4).times == (1, 334, 667, 1000)
    assert even(10, 10).times == tuple(range(1, 11))


def rounded(T: int, K: int) -> list[int]:
    """1 + (k-1)(T-1)/(K-1) to the nearest whole number, halves to the even one; in whole numbers throughout."""
    found = []
    for k in range(K):
        whole, rest = divmod(K - 1 + k * (T - 1), K - 1)
        up = 2 * rest > K - 1 or (2 * rest == K - 1 and whole % 2 == 1)
        found.append(whole + up)
    return found


def test_even_is_rounded_from_exact_fractions() -> None:
    """At all K of T = 50 and 1000, and at 90 of T = 4000."""
    for K, times in every_even().items():
        assert list(times) == rounded(T, K), K
    for length, some in [(50, range(2, 51)), (4000, [*range(2, 70), *range(70, 4000, 197), 3999, 4000])]:
        for K in some:
            assert list(even(length, K).times) == rounded(length, K), (length, K)


@pytest.mark.slow
def test_even_is_rounded_from_exact_fractions_at_every_length_of_4000() -> None:
    for K in range(2, 4001):
        assert list(even(4000, K).times) == rounded(4000, K), K


def test_even_takes_halves_to_the_even_number() -> None:
    """1 + 3/2 = 2.5 is 2, and 1 + 5/2 = 3.5 is 4, and so it goes on."""
    assert even(4, 3).times == (1, 2, 4)
    assert even(6, 3).times == (1, 4, 6)
    halves = [2 * Fraction(k * 999, 18) % 2 == 1 for k in range(19)]
    assert any(halves)
    assert all(t % 2 == 0 for t, half in zip(even(T, 19).times, halves, strict=True) if half)


def test_a_stride_in_float64_would_move_single_times_at_some_lengths() -> None:
    """As the published code does; at none of the lengths that papers report."""
    moved = []
    for K, times in every_even().items():
        step = (T - 1) / (K - 1)
        published = [round(1 + k * step) for k in range(K)]
        apart = np.abs(np.array(published) - np.array(times))
        assert apart.max() <= 1
        if apart.any():
            moved.append(K)
    assert len(moved) == 85
    assert not set(moved) & {5, 10, 25, 50, 100, 200}


def test_stride_has_one_stride() -> None:
    assert stride(T, 10).times == (1, 101, 201, 301, 401, 501, 601, 701, 801, 901)
    for K in range(1, T + 1):
        assert stride(T, K).times == tuple(range(1, T + 1, T // K))[:K]


@pytest.mark.parametrize("K", range(2, 30))
def test_quad_is_the_published_one_while_it_has_no_repeats(K: int) -> None:
    published = [int(v) + 1 for v in np.linspace(0, np.sqrt(T * 0.8), K) ** 2]
    assert quad(T, K).times == tuple(published)


def test_quad_moves_only_repeated_times() -> None:
    """From K = 30 on the published times repeat; the first repeat moves on by one, the last times stay."""
    published = [int(v) + 1 for v in np.linspace(0, np.sqrt(T * 0.8), 30) ** 2]
    assert len(set(published)) < 30
    assert quad(T, 30).times[3:] == tuple(published[3:])


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("K", [0, -1, T + 1, 1500])
def test_more_or_fewer_steps_than_there_are_is_refused(name: str, K: int) -> None:
    with pytest.raises(UsageError, match=rf"between 1 and T={T} \(got {K}\)"):
        GRIDS[name](NoiseSchedule.cosine(T), K)


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
    assert list(Grid("explicit", 10, (2, 5, 9)).pairs()) == [(5, 9), (2, 5), (0, 2)]
    assert list(Grid("explicit", 10, (7,)).pairs()) == [(0, 7)]


@pytest.mark.parametrize("name", GRIDS)
def test_a_grid_knows_its_length_and_name(name: str) -> None:
    grid = GRIDS[name](NoiseSchedule.cosine(T), 17)
    assert (grid.name, grid.T, grid.K) == (name, T, 17)
    assert len(list(grid.pairs())) == 17


def test_earlier_names_are_understood() -> None:
    assert ALIASES == {"ddim": "stride", "leading": "stride"}
    assert all(name in GRIDS for name in ALIASES.values())
    assert not ALIASES.keys() & GRIDS.keys()


def test_labels_tell_listed_times_apart() -> None:
    assert even(T, 10).label == "even10"
    one, other = explicit(T, [1, 5, 9]), explicit(T, [1, 5, 10])
    assert one.label.startswith("explicit3-")
    assert one.label != other.label
    assert one.label == explicit(T, [1, 5, 9]).label


@pytest.mark.parametrize("K", [2, 3, 5, 10, 25, 50])
def test_the_usual_names_are_those_of_diffusers(K: int) -> None:
    """Their 0-based times moved up by one: linspace, leading and trailing are three different even grids."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers import DDIMScheduler
    schedule = NoiseSchedule.linear(T)
    for theirs in ("linspace", "leading", "trailing"):
        scheduler = DDIMScheduler(T, timestep_spacing=theirs)
        scheduler.set_timesteps(K)
        wanted = tuple(sorted(int(t) + 1 for t in scheduler.timesteps))
        assert make_grid(theirs, schedule, K).times == wanted, theirs


@pytest.mark.parametrize("name", ["logsnr", "edm"])
@pytest.mark.parametrize("K", [2, 3, 5, 10, 50, 999, 1000])
def test_a_grid_is_even_in_its_variable(name: str, K: int) -> None:
    """Both ends are there, and each time is the nearest to an equal share where times are free."""
    schedule = NoiseSchedule.linear(T)
    times = GRIDS[name](schedule, K).times
    assert (times[0], times[-1], len(times)) == (1, T, K)
    values = -schedule.log_snr / 2 if name == "logsnr" else (schedule.log_snr / -14).exp()
    if K <= 5:
        shares = torch.linspace(float(values[1]), float(values[T]), K, dtype=torch.float64)
        assert list(times) == [int((values[1:] - share).abs().argmin()) + 1 for share in shares]


@pytest.mark.parametrize("K", [1, 2, 3, 4])
def test_grids_of_infinite_noise_begin_at_the_end(K: int) -> None:
    """alpha_bar_T = 0: T is the first time, and the others are spread over finite noise."""
    schedule = NoiseSchedule.from_betas([0.1, 0.2, 0.5, 1.0])
    for name in ("logsnr", "edm"):
        times = GRIDS[name](schedule, K).times
        assert times[-1] == 4
        assert len(times) == K
        assert K < 3 or times[-2] == 3


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^unknown grid 'cubic'; choose one of even, stride, quad, linspace"):
        make_grid("cubic", NoiseSchedule.linear(T), 5)


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("length", [2, 3, 4, 7, 30])
def test_every_k_where_nothing_is_left_at_the_end(name: str, length: int) -> None:
    """alpha_bar_T = 0, so that the variable of a grid is infinite at T: T is visited, the rest is spread below it."""
    schedule = NoiseSchedule.from_betas([*torch.linspace(0.01, 0.3, length - 1).tolist(), 1.0])
    for K in range(1, length + 1):
        times = GRIDS[name](schedule, K).times
        assert len(times) == K
        assert all(a < b for a, b in pairwise(times))
        assert 1 <= times[0] <= times[-1] <= length
        if name in ("logsnr", "edm"):
            assert times[-1] == length
            assert times[0] == (1 if K > 1 else length)
            shorter = NoiseSchedule.from_betas(torch.linspace(0.01, 0.3, length - 1).tolist())
            assert times[:-1] == (GRIDS[name](shorter, K - 1).times if K > 2 else times[:-1])


@pytest.mark.parametrize(("name", "K"), [("logsnr", 2), ("logsnr", 4), ("edm", 3), ("edm", 5)])
def test_an_even_share_takes_the_nearest_time(name: str, K: int) -> None:
    """On the edm schedule ``edm`` is even in t; a hundred noise levels are few, so that nearest is to be told apart."""
    schedule = NoiseSchedule.edm(100)
    values = -schedule.log_snr / 2 if name == "logsnr" else (schedule.log_snr / -14).exp()
    shares = torch.linspace(float(values[1]), float(values[100]), K, dtype=torch.float64)
    wanted = [int((values[1:] - share).abs().argmin()) + 1 for share in shares]
    assert list(GRIDS[name](schedule, K).times) == wanted
    if name == "edm":
        assert np.abs(np.array(wanted) - np.linspace(1, 100, K)).max() <= 0.5 + 1e-9
