"""Knots: what lies between them is known from smoothness alone, and here is how well."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import UsageError
from diffcov.statistics.knots import Knots
from oracles.diagonal import DiagonalWorld
from oracles.exact import MP, exact

ROUNDING = 1e-12
"""Sums of four products of numbers near 1."""
SCHEDULES = {family: getattr(NoiseSchedule, family)(1000) for family in ("linear", "cosine", "vp")}
COUNTS = [1, 2, 3, 4, 7, 32, 200]


def all_times(schedule: NoiseSchedule) -> Tensor:
    return torch.arange(1, schedule.T + 1)


def values_at(knots: Knots, curve: Tensor) -> Tensor:
    """Of a curve over t = 1..T."""
    return curve[torch.tensor(knots.times) - 1]


# --- where they are


@pytest.mark.parametrize("family", ["linear", "cosine"])
def test_log_snr_is_exact_to_the_last_digits(family: str) -> None:
    """In 50 digits; near t = 1 the difference of beta_bar from 0, near T of alpha_bar is what counts."""
    found, truth = SCHEDULES[family].log_snr, exact(family, 1000)
    assert found.dtype == torch.float64
    assert found.shape == (1001,)
    assert float(found[0]) == math.inf
    for t in (1, 2, 500, 999, 1000):
        expected = MP.log(truth.alpha_bar[t] / truth.beta_bar(t))
        assert float(found[t]) == pytest.approx(float(expected), rel=1e-11)
    assert (found.diff() < 0).all()


@pytest.mark.parametrize("count", [2, 3, 7, 32, 200, 5000])
@pytest.mark.parametrize("family", SCHEDULES)
def test_they_run_from_the_first_to_the_last_time(family: str, count: int) -> None:
    schedule = SCHEDULES[family]
    knots = Knots.spread(schedule, count)
    assert (knots.times[0], knots.times[-1]) == (1, 1000)
    assert all(a < b for a, b in pairwise(knots.times))
    assert len(knots.times) <= min(count, 1000)


@pytest.mark.parametrize("count", [5, 32, 100])
@pytest.mark.parametrize("family", SCHEDULES)
def test_no_gap_is_wider_than_it_must_be(family: str, count: int) -> None:
    """Even in log-SNR to half a time on either side; and where times are further apart, each is a knot."""
    schedule = SCHEDULES[family]
    x = schedule.log_snr[1:]
    even, own = float(x[0] - x[-1]) / (count - 1), -x.diff()
    knots = Knots.spread(schedule, count).times
    for a, b in pairwise(knots):
        if b > a + 1:
            widest_inside = float(own[a - 1 : b - 1].max())
            assert float(x[a - 1] - x[b - 1]) <= even + widest_inside + ROUNDING
            assert widest_inside < even, "a gap over several times is one of short times"


@pytest.mark.parametrize("T", [30, 50])
def test_with_enough_knots_every_time_is_one(T: int) -> None:
    schedule = NoiseSchedule.linear(T)
    knots = Knots.spread(schedule, 20 * T)
    assert knots.times == tuple(range(1, T + 1))
    for weights in (knots.weights, knots.straight):
        torch.testing.assert_close(
            weights(schedule, all_times(schedule)), torch.eye(T, dtype=torch.float64), rtol=0, atol=ROUNDING
        )


def test_one_step_of_noise_has_one_knot() -> None:
    schedule = NoiseSchedule.cosine(1)
    for count in (1, 2, 32):
        assert Knots.spread(schedule, count).times == (1,)


@pytest.mark.parametrize("count", [0, -3])
def test_fewer_than_one_knot(count: int) -> None:
    with pytest.raises(UsageError, match=f"--knots must be at least 1, found {count}"):
        Knots.spread(SCHEDULES["linear"], count)


# --- between them


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("family", SCHEDULES)
def test_weights_sum_to_one(family: str, count: int) -> None:
    """So a constant is a constant everywhere."""
    schedule = SCHEDULES[family]
    knots = Knots.spread(schedule, count)
    for weights in (knots.weights(schedule, all_times(schedule)), knots.straight(schedule, all_times(schedule))):
        assert weights.shape == (1000, len(knots.times))
        assert weights.dtype == torch.float64
        torch.testing.assert_close(weights.sum(1), torch.ones(1000, dtype=torch.float64), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("family", SCHEDULES)
def test_a_knot_has_its_own_value(family: str, count: int) -> None:
    """To the last bit: what was measured at t is what is said at t."""
    schedule = SCHEDULES[family]
    knots = Knots.spread(schedule, count)
    identity = torch.eye(len(knots.times), dtype=torch.float64)
    for weights in (knots.weights, knots.straight):
        assert torch.equal(weights(schedule, torch.tensor(knots.times)), identity)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("family", SCHEDULES)
def test_straight_weights_are_shares_of_two_neighbours(family: str, count: int) -> None:
    """Within [0, 1], so that a mixture of correlation matrices is one; and straight in log-SNR."""
    schedule = SCHEDULES[family]
    knots = Knots.spread(schedule, count)
    weights = knots.straight(schedule, all_times(schedule))
    assert float(weights.min()) >= 0
    assert float(weights.max()) <= 1
    for t, row in enumerate(weights, start=1):
        used = row.nonzero().flatten().tolist()
        assert len(used) <= 2
        if len(used) == 2:
            assert used[1] == used[0] + 1
            assert knots.times[used[0]] < t < knots.times[used[1]]
    if count > 1:
        x = schedule.log_snr[1:]
        torch.testing.assert_close(weights @ values_at(knots, x), x, rtol=ROUNDING, atol=1e-10)


@pytest.mark.parametrize("count", [3, 4, 7, 32])
@pytest.mark.parametrize("family", SCHEDULES)
def test_parabolas_in_log_snr_are_reproduced_exactly(family: str, count: int) -> None:
    """Also in the first and the last gap, where a knot has neighbours on one side only."""
    schedule = SCHEDULES[family]
    knots, x = Knots.spread(schedule, count), schedule.log_snr[1:]
    weights = knots.weights(schedule, all_times(schedule))
    for curve in (torch.ones_like(x), x, 0.3 * x.square() - 2 * x + 5):
        torch.testing.assert_close(weights @ values_at(knots, curve), curve, rtol=0, atol=1e-9)


def test_the_curve_has_no_corners() -> None:
    """Cubic pieces meet with one slope; straight lines through the same values turn by up to f'' times their length.

    At the knots of the later half, where times are close enough to see slopes on either side.
    """
    schedule = NoiseSchedule.linear(20_000)
    x = -schedule.log_snr[1:]
    knots = Knots.spread(schedule, 40)
    curve = values_at(knots, (1.5 * x).sin())
    turns = []
    for weights in (knots.weights, knots.straight):
        y = weights(schedule, all_times(schedule)) @ curve
        slopes = y.diff() / x.diff()
        at = torch.tensor(knots.times[20:-1]) - 1
        turns.append(float((slopes[at] - slopes[at - 1]).abs().max()))
    assert turns[0] < 0.05
    assert turns[1] > 0.5


def test_one_knot_is_a_constant_and_two_are_a_line() -> None:
    schedule = SCHEDULES["linear"]
    t = all_times(schedule)
    one, two = Knots((400,)), Knots((100, 900))
    assert torch.equal(one.weights(schedule, t), torch.ones(1000, 1, dtype=torch.float64))
    assert torch.equal(two.weights(schedule, t), two.straight(schedule, t))
    x = schedule.log_snr
    share = float((x[100] - x[300]) / (x[100] - x[900]))
    assert two.weights(schedule, torch.tensor([300]))[0].tolist() == pytest.approx([1 - share, share], rel=1e-12)


def test_nothing_is_extrapolated() -> None:
    """Beyond the ends the last value is kept, however steep it was there."""
    schedule = SCHEDULES["linear"]
    for times in ((100, 900), (100, 300, 900), (100, 101, 500, 880, 900)):
        knots = Knots(times)
        for weights in (knots.weights, knots.straight):
            found = weights(schedule, torch.tensor([1, 50, 99, 100, 900, 901, 1000]))
            first, last = torch.zeros(2, len(times), dtype=torch.float64)
            first[0], last[-1] = 1, 1
            assert torch.equal(found, torch.stack([first] * 4 + [last] * 3))


def test_times_may_come_in_any_order_and_twice() -> None:
    schedule, knots = SCHEDULES["cosine"], Knots.spread(SCHEDULES["cosine"], 8)
    t = torch.tensor([700, 3, 1000, 3, 1])
    for weights in (knots.weights, knots.straight):
        assert torch.equal(weights(schedule, t), weights(schedule, all_times(schedule))[t - 1])


# --- how well that describes what is measured

WORST = {"linear": 6e-4, "cosine": 3e-3, "vp": 6e-4}
"""Relative error of an interpolated variance between 32 knots, T = 1000. Cosine has fewer: its first 8 times are as
far apart as all the rest would like their knots to be."""


@pytest.mark.parametrize("var", [1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.25, 1.0, 5.0, 20.0])
@pytest.mark.parametrize("family", SCHEDULES)
def test_the_stated_error_in_the_gaussian_world(family: str, var: float) -> None:
    """A coefficient of any variance a picture has: log Var[eps | x_t] at every time, from its values at the knots."""
    schedule = SCHEDULES[family]
    world = DiagonalWorld(schedule, torch.full((1, 1, 1), var, dtype=torch.float64))
    knots = Knots.spread(schedule, 32)
    curve = torch.cat([world.var_eps(t).flatten() for t in range(1, 1001)]).log()
    found = knots.weights(schedule, all_times(schedule)) @ values_at(knots, curve)
    assert float((found - curve).abs().max()) < WORST[family]


def test_a_straight_line_would_be_thirty_times_worse() -> None:
    """The slopes earn their place: 1.7 % instead of 0.06 %."""
    schedule = SCHEDULES["linear"]
    world = DiagonalWorld(schedule, torch.full((1, 1, 1), 0.25, dtype=torch.float64))
    knots = Knots.spread(schedule, 32)
    curve = torch.cat([world.var_eps(t).flatten() for t in range(1, 1001)]).log()
    errors = [
        float((weights(schedule, all_times(schedule)) @ values_at(knots, curve) - curve).abs().max())
        for weights in (knots.weights, knots.straight)
    ]
    assert errors[1] > 20 * errors[0]
    assert errors[1] < 0.02


def test_the_curve_is_what_the_docstring_says() -> None:
    """Var[eps | x_t] = sigmoid(log-SNR + log var): two closed forms of one thing."""
    schedule = SCHEDULES["cosine"]
    var = torch.logspace(-4, 1, 12, dtype=torch.float64).reshape(1, 3, 4)
    world = DiagonalWorld(schedule, var)
    for t in (1, 30, 500, 1000):
        expected = torch.sigmoid(schedule.log_snr[t] + var.log())
        torch.testing.assert_close(world.var_eps(t), expected, rtol=1e-10, atol=0)
        torch.testing.assert_close(schedule.ratio[t] * world.var_eps(t), world.cov_x0(t), rtol=1e-10, atol=0)


def zero_terminal(T: int) -> NoiseSchedule:
    """The linear schedule whose last step destroys everything."""
    betas = 1 - NoiseSchedule.linear(T).log_alpha[1:].exp()
    return NoiseSchedule.from_betas([*betas[:-1].tolist(), 1.0])


@pytest.mark.parametrize("count", [3, 4, 8, 12, 32])
def test_the_end_without_signal_is_a_knot_that_answers_for_itself_alone(count: int) -> None:
    """A Gaussian coefficient: sigmoid of log-SNR and log variance below T, and the variance of x_0 itself at T."""
    schedule, var = zero_terminal(1000), torch.tensor(0.25, dtype=torch.float64)
    knots = Knots.spread(schedule, count)
    assert len(knots.times) <= count
    assert (knots.times[0], *knots.times[-2:]) == (1, 999, 1000)
    truth = torch.sigmoid(schedule.log_snr + var.log())
    truth[1000] = var
    every = torch.arange(1, 1001)
    log_told = truth[torch.tensor(knots.times)].log()
    for weights in (knots.weights(schedule, every), knots.straight(schedule, every)):
        assert torch.allclose(weights.sum(1), torch.ones(1000, dtype=torch.float64))
        assert torch.equal(weights[-1], torch.eye(len(knots.times), dtype=torch.float64)[-1])
        assert not weights[:-1, -1].any()
    off = (knots.weights(schedule, every) @ log_told - truth[1:].log()).abs().max()
    same_spread = Knots(knots.times[:-1]).weights(NoiseSchedule.linear(1000), every)[:-1]
    as_ever = (same_spread @ log_told[:-1] - truth[1:1000].log()).abs().max()
    assert float(off) == pytest.approx(float(as_ever), rel=0.01), "no worse than where the schedule goes on"


def test_one_knot_serves_every_time_of_a_schedule_without_signal_at_its_end() -> None:
    schedule = zero_terminal(1000)
    assert torch.equal(Knots((1000,)).weights(schedule, torch.tensor([1, 1000])), torch.ones(2, 1, dtype=torch.float64))
    assert Knots.spread(schedule, 1).times == (1,)
