"""``learned-range``: the published variance of p(x_s | x_t), of any pair (s, t), and what it makes of the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from diffcov.covariance.ingredients import Ingredients
from diffcov.covariance.large import Large
from diffcov.covariance.learned_range import LearnedRange
from diffcov.covariance.small import Small
from diffcov.data import DataDescription
from diffcov.denoiser.look import Look
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.diffusion.step import Step
from diffcov.errors import InputError, NonFiniteError
from diffcov.gaussian import Ranged
from diffcov.noise import GivenNoise
from oracles.measured import told_look

T = 100
SCHEDULES = [NoiseSchedule.linear(T), NoiseSchedule.cosine(T)]
DATA = DataDescription(2, 3, 4)
PAIRS = [(1, 2), (49, 50), (10, 60), (1, T), (T - 1, T)]


def look(schedule: NoiseSchedule, t: int, learned: Tensor | None) -> Look:
    x_t, eps_hat = torch.randn(2, 5, *DATA.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return told_look(schedule, x_t, t, eps_hat, learned=learned)


def places(low: float, high: float) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    return low + (high - low) * torch.rand(5, *DATA.shape, generator=draw, dtype=torch.float64)


def covariance(schedule: NoiseSchedule, data: DataDescription = DATA) -> LearnedRange:
    return LearnedRange(Ingredients.of(schedule, data))


@pytest.mark.parametrize("schedule", SCHEDULES, ids=["linear", "cosine"])
@pytest.mark.parametrize(("s", "t"), PAIRS)
def test_it_is_the_published_interpolation_at_the_ends_of_the_pair(schedule: NoiseSchedule, s: int, t: int) -> None:
    """Not of the trained chain's beta_t; from alpha_bar itself, without Step."""
    v = places(-1, 1)
    abar_s, abar_t = (float(schedule.alpha_bar[one]) for one in (s, t))
    beta = 1 - abar_t / abar_s
    tilde = beta * (1 - abar_s) / (1 - abar_t)
    share = (v + 1) / 2
    expected = (share * math.log(beta) + (1 - share) * math.log(tilde)).exp()
    found = covariance(schedule).at(look(schedule, t, v)).lifted(Step(schedule, s, t))
    torch.testing.assert_close(found.var, expected, rtol=1e-8, atol=0)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=["linear", "cosine"])
@pytest.mark.parametrize(("v", "end"), [(-1.0, Small), (1.0, Large)])
def test_its_ends_are_small_and_large(schedule: NoiseSchedule, v: float, end: type[Small] | type[Large]) -> None:
    """In samples, in every term of the bound, and in the uncertainty of x_0 that calibration reads."""
    known = end(Ingredients.of(schedule, DATA))
    for s, t in PAIRS:
        seen, step = look(schedule, t, torch.full((5, *DATA.shape), v)), Step(schedule, s, t)
        found, expected = covariance(schedule).at(seen), known.at(seen)
        torch.testing.assert_close(found.var, expected.var.expand_as(found.var), rtol=1e-12, atol=0)
        lifted = expected.lifted(step).var
        torch.testing.assert_close(found.lifted(step).var, lifted.expand_as(found.var), rtol=1e-9, atol=0)
        error, rho = places(-0.3, 0.5), schedule.snr_gain(torch.arange(1, t), t)
        torch.testing.assert_close(found.kl_lifted(error, rho), expected.kl_lifted(error, rho), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=["linear", "cosine"])
def test_each_term_of_the_bound_is_that_of_two_gaussians(schedule: NoiseSchedule) -> None:
    """KL(q(x_s | x_t, x_0) || N(mean, var_xs)) by torch.distributions, arrival by arrival."""
    error, t = places(-0.3, 0.5), 60
    found = covariance(schedule).at(look(schedule, t, places(-1, 1)))
    arrivals = [1, 10, 30, 59]
    nats = found.kl_lifted(error, schedule.snr_gain(torch.tensor(arrivals), t))
    for s, row in zip(arrivals, nats, strict=True):
        step = Step(schedule, s, t)
        q = Normal(torch.zeros_like(error), math.sqrt(step.lambda2))
        p = Normal(step.gamma * error, found.lifted(step).var.sqrt())
        torch.testing.assert_close(row, kl_divergence(q, p).flatten(1).sum(1), rtol=1e-8, atol=1e-12)


def test_short_steps_make_of_x_0_what_it_says() -> None:
    """The lift of a step of the trained chain, undone, is nearly fraction * beta_bar_t."""
    schedule = NoiseSchedule.linear(1000)
    seen = look(schedule, 500, places(-1, 1))
    found, step = covariance(schedule).at(seen), Step(schedule, 499, 500)
    undone = (found.lifted(step).var - step.lambda2) / step.gamma**2
    torch.testing.assert_close(found.var, undone, rtol=1e-2, atol=0)
    long = (found.lifted(Step(schedule, 100, 500)).var - Step(schedule, 100, 500).lambda2) / Step(
        schedule, 100, 500
    ).gamma ** 2
    assert float((long / found.var).mean()) < 0.9, "for long steps it is not: no single uncertainty lifts to all"


@pytest.mark.parametrize("half", [1.0, 0.25])
def test_places_beyond_the_range_stay_within_what_data_can_have(half: float) -> None:
    schedule = NoiseSchedule.cosine(T)
    data = DataDescription(2, 3, 4, low=-half, high=half)
    for s, t in PAIRS:
        step = Step(schedule, s, t)
        found = covariance(schedule, data).at(look(schedule, t, places(-9, 9)))
        var, most = found.lifted(step).var, step.lambda2 + step.gamma**2 * half**2
        assert float(var.min()) == pytest.approx(step.lambda2, rel=1e-12)
        assert float(var.max()) <= most * (1 + 1e-12)
        nats = found.kl_lifted(
            torch.zeros(5, *DATA.shape, dtype=torch.float64), schedule.snr_gain(torch.tensor([s]), t)
        )
        assert bool(torch.isfinite(nats).all())
        assert found.floor_share == pytest.approx(float((places(-9, 9) <= -1).double().mean()))


def test_it_draws_pixel_by_pixel() -> None:
    schedule, v = NoiseSchedule.linear(T), places(-1, 1)
    step = Step(schedule, 10, 60)
    lifted = covariance(schedule).at(look(schedule, 60, v)).lifted(step)
    noise = GivenNoise([places(-1, 1)]).draw()
    torch.testing.assert_close(lifted.color(noise), lifted.var.sqrt() * noise, rtol=1e-12, atol=0)
    assert not isinstance(lifted, Ranged), "lifted, it is a Gaussian like any other"


def test_a_share_of_it_is_that_share_of_what_it_adds_to_small() -> None:
    schedule, step = NoiseSchedule.linear(T), Step(NoiseSchedule.linear(T), 10, 60)
    whole = covariance(schedule).at(look(schedule, 60, places(-1, 1)))
    half = whole.shared(0.5)
    expected = step.lambda2 + 0.5 * (whole.lifted(step).var - step.lambda2)
    torch.testing.assert_close(half.lifted(step).var, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(half.var, 0.5 * whole.var, rtol=1e-12, atol=0)
    assert torch.equal(whole.shared(0.0).lifted(step).var, torch.full_like(whole.var, step.lambda2))
    error, q = places(-0.3, 0.5), Normal(0.0, math.sqrt(step.lambda2))
    p = Normal(step.gamma * error, half.lifted(step).var.sqrt())
    nats = half.kl_lifted(error, schedule.snr_gain(torch.tensor([10]), 60))
    torch.testing.assert_close(nats[0], kl_divergence(q, p).flatten(1).sum(1), rtol=1e-6, atol=1e-12)


def test_shares_of_shares_multiply() -> None:
    schedule, step = NoiseSchedule.linear(T), Step(NoiseSchedule.linear(T), 10, 60)
    whole = covariance(schedule).at(look(schedule, 60, places(-1, 1)))
    twice, once = whole.shared(0.5).shared(0.4), whole.shared(0.2)
    torch.testing.assert_close(twice.lifted(step).var, once.lifted(step).var, rtol=1e-12, atol=0)
    torch.testing.assert_close(twice.var, once.var, rtol=1e-12, atol=0)


@pytest.mark.parametrize("half", [1.0, 0.25])
def test_places_beyond_the_range_are_bounded_in_the_bound_as_in_samples(half: float) -> None:
    """KL(q || p) with p's variance as it is drawn from, at both ends of the clip; so small data that both ends bind."""
    schedule = NoiseSchedule.cosine(T)
    data = DataDescription(2, 3, 4, low=-half, high=half)
    found, error = covariance(schedule, data).at(look(schedule, 60, places(-9, 9))), places(-0.3, 0.5)
    torch.testing.assert_close(found.unclipped, (places(-9, 9) + 1) / 2 * schedule.beta_bar[60], rtol=1e-12, atol=0)
    for s in (1, 30, 59):
        step = Step(schedule, s, 60)
        var = found.lifted(step).var
        assert bool((var <= step.lambda2 * (1 + 1e-12)).any())
        assert bool((var >= (step.lambda2 + step.gamma**2 * half**2) * (1 - 1e-12)).any())
        q, p = Normal(0.0, math.sqrt(step.lambda2)), Normal(step.gamma * error, var.sqrt())
        nats = found.kl_lifted(error, schedule.snr_gain(torch.tensor([s]), 60))
        torch.testing.assert_close(nats[0], kl_divergence(q, p).flatten(1).sum(1), rtol=1e-5, atol=1e-7)


def test_one_place_for_all_pixels_counts_for_each_of_them() -> None:
    schedule, error = NoiseSchedule.linear(T), places(-0.3, 0.5)
    rho = schedule.snr_gain(torch.tensor([10, 40]), 60)
    one, each = (
        Ranged.of(torch.full(shape, 0.3), float(schedule.beta_bar[60])) for shape in ((1, 1, 1, 1), error.shape)
    )
    torch.testing.assert_close(one.kl_lifted(error, rho), each.kl_lifted(error, rho), rtol=1e-12, atol=0)


@pytest.mark.parametrize("times", [(0, 1), (0, T)])
def test_nothing_is_wrong_at_the_data_though_no_noise_is_put_there(times: Sequence[int]) -> None:
    schedule = NoiseSchedule.linear(T)
    found = covariance(schedule).at(look(schedule, times[1], places(-1, 0.9)))
    assert not found.lifted(Step(schedule, times[0], times[1])).var.any()


def test_a_network_without_a_second_half_is_refused() -> None:
    schedule = NoiseSchedule.linear(T)
    with pytest.raises(
        InputError, match=r"this network gives its mean alone; use another covariance, such as corrected"
    ):
        covariance(schedule).at(look(schedule, 50, None))


def test_what_is_not_a_number_is_refused_by_name_and_time() -> None:
    schedule = NoiseSchedule.linear(T)
    with pytest.raises(NonFiniteError, match="the learned-range covariance gives NaN at t=45"):
        covariance(schedule).checked(look(schedule, 45, places(-1, 1) * math.nan))
