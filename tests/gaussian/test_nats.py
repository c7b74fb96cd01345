"""Divergences against torch and against 50 digits, grey levels against 50 digits."""

from __future__ import annotations

import math
import random

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from diffcov.data import DataDescription
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.diffusion.step import Step
from diffcov.gaussian import discretised_nats, kl_diagonal, kl_lifted
from oracles.exact import MP, exact
from oracles.levels import level_nats

EXACT = 1e-9
DIGITS = DataDescription(1, 8, 8, levels=17)
PHOTOS = DataDescription(3, 8, 8)
UNIT = DataDescription(1, 8, 8, levels=2, low=0.0, high=1.0)


def f64(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def levels(data: DataDescription) -> Tensor:
    return data.low + data.level_width * torch.arange(data.levels, dtype=torch.float64)


# --- divergences


def test_kl_diagonal_is_torchs() -> None:
    draw = torch.Generator().manual_seed(0)
    m_q, m_p, log_q, log_p = 3 * torch.randn(4, 200, generator=draw, dtype=torch.float64)
    expected = kl_divergence(Normal(m_q, (log_q / 2).exp()), Normal(m_p, (log_p / 2).exp()))
    torch.testing.assert_close(kl_diagonal(m_q - m_p, log_q.exp(), log_p.exp()), expected, rtol=EXACT, atol=EXACT)
    assert kl_diagonal(f64(0), f64(0.3), f64(0.3)).item() == pytest.approx(0, abs=1e-15)


def steps(T: int) -> list[tuple[int, int]]:
    draw = random.Random(T)
    pairs = [sorted(draw.sample(range(1, T + 1), 2)) for _ in range(40)]
    return [(1, 2), (1, T), (T - 1, T), (T // 2, T // 2 + 1), *((s, t) for s, t in pairs)]


@pytest.mark.parametrize("family", ["linear", "cosine"])
@pytest.mark.parametrize("T", [30, 1000])
def test_kl_lifted_is_the_kl_of_its_step(family: str, T: int) -> None:
    """Absolute: the long formula loses digits in log(var_p / var_q) - 1, which is why there is a short one."""
    schedule = getattr(NoiseSchedule, family)(T)
    for s, t in steps(T):
        step = Step(schedule, s, t)
        rho = torch.tensor(step.gamma**2 / step.lambda2, dtype=torch.float64)
        for error in (0.0, 0.01, 0.7, 2.0):
            for var_x0 in (0.0, 1e-6, 0.02, 0.3, 1.0):
                lambda2, var, e = f64(step.lambda2), f64(var_x0), f64(error)
                expected = kl_diagonal(step.gamma * e, lambda2, step.lift(var))
                found = kl_lifted(rho, e.square(), var)
                torch.testing.assert_close(found, expected, rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize("family", ["linear", "cosine"])
def test_kl_lifted_keeps_its_digits_on_short_steps(family: str) -> None:
    schedule, truth = getattr(NoiseSchedule, family)(1000), exact(family, 1000)
    for s, t in steps(1000):
        step = Step(schedule, s, t)
        rho = torch.tensor(step.gamma**2 / step.lambda2, dtype=torch.float64)
        for error, var_x0 in ((0.1, 0.0), (0.0, 0.2), (0.4, 0.02), (1.5, 1.0)):
            lambda2, gamma = truth.lambda2(s, t, 1.0), truth.gamma(s, t, 1.0)
            lifted = lambda2 + gamma**2 * MP.mpf(var_x0)
            expected = (MP.log(lifted / lambda2) + (lambda2 + (gamma * MP.mpf(error)) ** 2) / lifted - 1) / 2
            found = float(kl_lifted(rho, f64(error).square(), f64(var_x0)))
            assert found == pytest.approx(float(expected), rel=1e-7, abs=1e-14), (s, t, error, var_x0)


def test_kl_lifted_without_uncertainty_is_the_distance_of_the_means() -> None:
    rho, error_sq = f64(1e-6, 1.0, 1e6), f64(0.0, 0.3, 4.0)
    assert torch.equal(kl_lifted(rho, error_sq, torch.zeros((), dtype=torch.float64)), rho * error_sq / 2)


@pytest.mark.parametrize("rho", [1e-3, 1.0, 1e3])
def test_kl_lifted_is_least_where_the_variance_is_the_squared_error(rho: float) -> None:
    at_best = kl_lifted(f64(rho), f64(0.2), f64(0.2))
    assert float(at_best) == pytest.approx(0.5 * math.log1p(rho * 0.2), rel=1e-12)
    for other in (0.0, 0.1, 0.19, 0.21, 0.4):
        assert kl_lifted(f64(rho), f64(0.2), f64(other)) > at_best


# --- grey levels

MEANS = [-30.0, -1.3, -1.0, -0.31, 0.0, 0.0625, 0.77, 1.0, 5.0]
VARIANCES = [1e-12, 1e-8, 1e-5, 1e-3, 0.02, 1.0, 400.0]


@pytest.mark.parametrize("var", VARIANCES)
@pytest.mark.parametrize("data", [DIGITS, PHOTOS, UNIT], ids=str)
def test_masses_sum_to_one(data: DataDescription, var: float) -> None:
    x_0 = levels(data)
    for mean in MEANS:
        nats = discretised_nats(x_0, torch.full_like(x_0, mean), var, data)
        assert nats.dtype == torch.float64
        assert torch.isfinite(nats).all()
        assert float(nats.min()) >= 0
        assert float((-nats).exp().sum()) == pytest.approx(1, abs=1e-9), mean


@pytest.mark.parametrize("var", VARIANCES)
@pytest.mark.parametrize("data", [DIGITS, PHOTOS, UNIT], ids=str)
def test_masses_are_exact_in_the_tails(data: DataDescription, var: float) -> None:
    """Differences of two distribution functions would be 0 there, and their logarithm infinite."""
    chosen = sorted({0, 1, data.levels // 2, data.levels - 2, data.levels - 1})
    for mean in MEANS:
        for level in chosen:
            x_0 = levels(data)[level]
            found = float(discretised_nats(x_0, torch.full_like(x_0, mean), var, data))
            assert found == pytest.approx(level_nats(level, mean, var, data), rel=1e-8, abs=1e-9), (mean, level)


def test_end_levels_take_the_tails() -> None:
    """A mean far outside puts all its mass on the end, and half of it where it sits on the inner edge."""
    for sign in (-1.0, 1.0):
        end = f64(sign)
        assert float(discretised_nats(end, 40 * end, 1.0, DIGITS)) == 0
        assert float(discretised_nats(end, end * (1 - 1 / 16), 1e-6, DIGITS)) == pytest.approx(math.log(2), rel=1e-9)
    beyond = float(discretised_nats(f64(1.0), f64(1.0), 1.0, DIGITS))
    assert beyond == pytest.approx(-math.log(0.5 + 0.5 * math.erf(1 / 16 / math.sqrt(2))), rel=1e-9)


@pytest.mark.parametrize(("data", "bits"), [(DIGITS, math.log2(17)), (PHOTOS, 8.0), (UNIT, 1.0)], ids=str)
def test_a_uniform_model_needs_log2_levels_bits(data: DataDescription, bits: float) -> None:
    """Equal mixture of narrow normals on the levels' means, whatever grey level is seen."""
    x_0 = levels(data)
    nats = discretised_nats(x_0[:, None].expand(-1, data.levels), x_0.expand(data.levels, -1), 1e-8, data)
    found = -(-nats).exp().mean(1).log2()
    torch.testing.assert_close(found, torch.full_like(found, bits), rtol=EXACT, atol=0)


def test_grey_levels_as_float32_are_the_same_levels() -> None:
    """``encode`` gives float32, whose ends must still be recognised as ends."""
    for data in (DIGITS, PHOTOS, DataDescription(1, 1, 1, levels=256, low=-0.3, high=0.7)):
        x_0 = data.encode(torch.arange(data.levels, dtype=torch.uint8))
        nats = discretised_nats(x_0, torch.full_like(x_0, 50.0), 1e-2, data)
        assert float(nats[-1]) == 0
        close = discretised_nats(x_0, torch.full_like(x_0, 0.1), 1e-2, data)
        assert float((-close).exp().sum()) == pytest.approx(1, abs=1e-5)
