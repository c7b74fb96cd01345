"""The reverse step against 50 digits, Bayes' rule and the marginals it must keep."""

from __future__ import annotations

import math

import pytest
import torch

from diffcov.diffusion.level import q_sample
from diffcov.diffusion.schedule import FAMILIES, NoiseSchedule
from diffcov.diffusion.step import Step
from diffcov.errors import InputError, UsageError
from oracles.exact import exact, relative_error

EXACT = 1e-12
"""Relative, for coefficients in float64."""

ROUNDING = 1e-10
"""Absolute, for chains of a few float64 operations with x_0 up to 1 and 1/sqrt(abar_t) up to 157 (linear)."""

ETAS = [0.0, 0.3, 0.5, 0.9, 1.0]
PAIRS = [(0, 1), (1, 2), (0, 500), (1, 1000), (499, 500), (999, 1000), (100, 900), (0, 1000), (37, 41)]
CASES = [(family, 1000, s, t) for family in ("linear", "cosine", "vp") for s, t in PAIRS]
CASES += [(family, 4000, t - 1, t) for family in ("linear", "cosine", "vp") for t in (1, 2, 10, 2000, 3999, 4000)]

LINEAR = NoiseSchedule.linear(1000)


def images(seed: int) -> torch.Tensor:
    return torch.randn(4, 3, 5, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("eta", ETAS)
@pytest.mark.parametrize(("family", "T", "s", "t"), CASES)
def test_coefficients_are_exact(family: str, T: int, s: int, t: int, eta: float) -> None:
    step, truth = Step(FAMILIES[family](T), s, t, eta), exact(family, T)
    assert relative_error(step.alpha_ts, truth.alpha_ts(s, t)) < EXACT
    assert relative_error(step.beta_ts, truth.beta_ts(s, t)) < EXACT
    assert relative_error(step.beta_tilde, truth.beta_tilde(s, t)) < EXACT
    assert relative_error(step.lambda2, truth.lambda2(s, t, eta)) < EXACT
    assert relative_error(step.direction, truth.direction(s, t, eta)) < EXACT
    assert relative_error(step.gamma, truth.gamma(s, t, eta)) < EXACT


@pytest.mark.parametrize(("family", "T", "s", "t"), CASES)
def test_gamma_of_ddpm(family: str, T: int, s: int, t: int) -> None:
    """gamma^2 = abar_s beta_ts^2 / bbar_t^2."""
    truth = exact(family, T)
    expected = truth.alpha_bar[s] * truth.beta_ts(s, t) ** 2 / truth.beta_bar(t) ** 2
    assert relative_error(Step(FAMILIES[family](T), s, t).gamma ** 2, expected) < 2 * EXACT


@pytest.mark.parametrize("eta", ETAS)
def test_the_last_step_is_all_x0(eta: float) -> None:
    step = Step(LINEAR, 0, 3, eta)
    assert (step.gamma, step.lambda2, step.direction) == (1.0, 0.0, 0.0)


def test_the_last_step_is_all_x0_to_the_bit_from_every_time() -> None:
    """Sums in another order round differently, and a share of 1 - 1e-16 would leave something of x_t."""
    for schedule in (LINEAR, NoiseSchedule.cosine(1000), NoiseSchedule.edm(100)):
        for t in range(1, schedule.T + 1):
            step = Step(schedule, 0, t, 0.5)
            assert (step.gamma, step.lambda2, step.direction, step.beta_tilde) == (1.0, 0.0, 0.0, 0.0), t


@pytest.mark.parametrize(("s", "t"), PAIRS)
def test_q_over_s_composes_to_q_at_t(s: int, t: int) -> None:
    """x_t = sqrt(alpha_ts) x_s + sqrt(beta_ts) noise has the moments of q(x_t | x_0)."""
    step = Step(LINEAR, s, t)
    mean = math.sqrt(step.alpha_ts) * math.sqrt(step.alpha_bar_s)
    assert mean == pytest.approx(math.sqrt(float(LINEAR.alpha_bar[t])), rel=EXACT)
    assert step.alpha_ts * step.beta_bar_s + step.beta_ts == pytest.approx(step.beta_bar_t, rel=EXACT)


@pytest.mark.parametrize("eta", ETAS)
@pytest.mark.parametrize(("s", "t"), PAIRS)
def test_both_ways_to_write_the_mean_agree(s: int, t: int, eta: float) -> None:
    step, x_0, eps = Step(LINEAR, s, t, eta), images(2), images(3)
    x_t = q_sample(LINEAR, x_0, t, eps)
    torch.testing.assert_close(step.mean_from_x_t(x_0, x_t), step.mean_from_eps(x_0, eps), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize(("s", "t"), [(s, t) for s, t in PAIRS if s > 0])
def test_ddpm_posterior_is_bayes_rule(s: int, t: int) -> None:
    """Prior x_s ~ N(sqrt(abar_s) x_0, bbar_s), likelihood x_t ~ N(sqrt(alpha_ts) x_s, beta_ts): precisions add."""
    truth = exact("linear", 1000)
    x_0, x_t = 0.75, -1.25
    precision = 1 / truth.beta_bar(s) + truth.alpha_ts(s, t) / truth.beta_ts(s, t)
    pull = truth.alpha_bar[s] ** 0.5 * x_0 / truth.beta_bar(s) + truth.alpha_ts(s, t) ** 0.5 * x_t / truth.beta_ts(s, t)
    step = Step(LINEAR, s, t, eta=1.0)
    mean = step.mean_from_x_t(torch.tensor(x_0).double(), torch.tensor(x_t).double())
    assert float(mean) == pytest.approx(float(pull / precision), rel=EXACT)
    assert relative_error(step.lambda2, 1 / precision) < EXACT


@pytest.mark.parametrize("eta", ETAS)
@pytest.mark.parametrize(("s", "t"), PAIRS)
def test_posterior_keeps_the_marginal(s: int, t: int, eta: float) -> None:
    """x_t ~ q(x_t | x_0), then x_s ~ q(x_s | x_t, x_0): x_s ~ N(sqrt(abar_s) x_0, bbar_s), whatever eta is."""
    step, x_0 = Step(LINEAR, s, t, eta), torch.tensor(0.8, dtype=torch.float64)
    centre = math.sqrt(float(LINEAR.alpha_bar[t])) * x_0
    mean = step.mean_from_x_t(x_0, centre)
    slope = step.mean_from_x_t(x_0, centre + 1) - mean
    assert float(mean) == pytest.approx(math.sqrt(step.alpha_bar_s) * 0.8, rel=EXACT)
    variance = float(slope) ** 2 * step.beta_bar_t + step.lambda2
    assert variance == pytest.approx(step.beta_bar_s, rel=ROUNDING, abs=1e-15)


@pytest.mark.parametrize("eta", ETAS)
@pytest.mark.parametrize(("s", "t"), PAIRS)
def test_lift_is_the_law_of_total_variance(s: int, t: int, eta: float) -> None:
    """Var[x_s | x_t] = E Var[x_s | x_t, x_0] + Var of the mean, whose slope in x_0 at fixed x_t is measured here."""
    step, x_t = Step(LINEAR, s, t, eta), torch.tensor(0.4, dtype=torch.float64)
    var_x0 = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    slope = step.mean_from_x_t(x_t + 1, x_t) - step.mean_from_x_t(x_t, x_t)
    torch.testing.assert_close(step.lift(var_x0), step.lambda2 + slope**2 * var_x0, rtol=ROUNDING, atol=1e-15)


@pytest.mark.parametrize("eta", [-0.1, 1.9, math.nan])
def test_an_eta_that_leaves_no_direction_is_refused(eta: float) -> None:
    with pytest.raises(UsageError, match=f"from 2 to 1 cannot keep eta.2 beta_tilde as noise for eta {eta}: eta is"):
        Step(LINEAR, 1, 2, eta)


def test_the_largest_eta_that_is_told_is_the_largest_there_is() -> None:
    with pytest.raises(UsageError, match="eta is between 0 and ") as refusal:
        Step(LINEAR, 400, 500, 9.0)
    most = float(str(refusal.value).split("between 0 and ")[1].split()[0])
    Step(LINEAR, 400, 500, most * (1 - 1e-5))
    with pytest.raises(UsageError):
        Step(LINEAR, 400, 500, most * (1 + 1e-5))


def test_more_noise_than_the_markov_chain_keeps_the_marginal_too() -> None:
    """Up to lambda2 = bbar_s, where the direction is 0 and the next value forgets x_t's noise."""
    step = Step(LINEAR, 400, 500, 1.0)
    most = math.sqrt(step.beta_bar_s / step.beta_tilde)
    for eta in (1.05, most * (1 - 1e-12)):
        more = Step(LINEAR, 400, 500, eta)
        assert more.direction**2 + more.lambda2 == pytest.approx(more.beta_bar_s, rel=1e-12)
        assert more.gamma == pytest.approx(
            more.alpha_bar_s**0.5 - more.direction * (float(LINEAR.alpha_bar[500]) / more.beta_bar_t) ** 0.5, rel=1e-9
        )


@pytest.mark.parametrize(("s", "t"), [(5, 5), (6, 5), (-1, 5), (5, 1001)])
def test_times_out_of_order_are_refused(s: int, t: int) -> None:
    with pytest.raises(InputError, match=f"0 <= s < t <= T=1000, found s={s}, t={t}"):
        Step(LINEAR, s, t)


# --- from noise alone

ZERO = NoiseSchedule.from_betas([0.1, 0.2, 0.5, 1.0])


@pytest.mark.parametrize("eta", ETAS)
@pytest.mark.parametrize("s", [0, 1, 3])
def test_a_step_from_where_nothing_of_the_image_is_left(s: int, eta: float) -> None:
    """abar_t = 0: x_t is eps, so that gamma = sqrt(abar_s), lambda2 = eta^2 bbar_s and x_s forgets x_t at eta = 1."""
    abar_s = math.prod((0.9, 0.8, 0.5)[:s])
    step = Step(ZERO, s, 4, eta)
    assert (step.alpha_ts, step.beta_ts, step.beta_bar_t) == (0.0, 1.0, 1.0)
    assert step.gamma == pytest.approx(math.sqrt(abar_s), rel=EXACT)
    assert step.lambda2 == pytest.approx(eta**2 * (1 - abar_s), rel=EXACT)
    assert step.direction == pytest.approx(math.sqrt((1 - eta**2) * (1 - abar_s)), rel=EXACT)
    x_0, x_t = images(4), images(5)
    torch.testing.assert_close(step.mean_from_x_t(x_0, x_t), step.mean_from_eps(x_0, x_t), rtol=0, atol=ROUNDING)
    if eta == 1:
        torch.testing.assert_close(step.mean_from_x_t(x_0, x_t), math.sqrt(abar_s) * x_0, rtol=0, atol=ROUNDING)
