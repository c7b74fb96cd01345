"""State-dependent covariance in closed form: what each estimator regresses, with a perfect and with a biased mean.

Conditional expectations are integrals over p(eps | x_t) by quadrature, independent of the closed forms they meet.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from diffcov.covariance import registry
from diffcov.covariance.head_based import HeadCovariance
from diffcov.covariance.ingredients import FittedHead, Ingredients
from diffcov.data import DataDescription
from diffcov.denoiser.noised import Noised
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.diffusion.step import Step
from diffcov.statistics.table import VarianceTable
from oracles.measured import told_look, told_spectrum
from oracles.mixture import MixtureWorld
from oracles.quadrature import eps_grid, x_t_grid

QUADRATURE = 1e-8
"""Relative, and absolute in units of eps^2: the trapezoid rule has converged, cancellation in 1 - Gamma is left."""

WORLD = MixtureWorld(NoiseSchedule.linear(1000))
DATA = DataDescription(1, 1, 1)
TIMES = [20, 100, 300, 500, 800]
SOME_X = torch.linspace(-1.5, 1.5, 31, dtype=torch.float64)


def exact_mean(x_t: Tensor, t: int) -> Tensor:
    return WORLD.eps_hat(x_t, t)


def bias(x_t: Tensor) -> Tensor:
    return 0.3 * torch.sin(2 * x_t) + 0.05


def biased_mean(x_t: Tensor, t: int) -> Tensor:
    return WORLD.eps_hat(x_t, t) + bias(x_t)


Mean = Callable[[Tensor, int], Tensor]


def derivative(mean: Mean, x_t: Tensor, t: int) -> Tensor:
    """d eps_hat / d x_t, by autograd."""
    x = x_t.clone().requires_grad_(True)
    return torch.autograd.grad(mean(x, t).sum(), x)[0]


SPECTRUM = told_spectrum([1, 1000], lambda t: torch.full((1, 1, 1), 0.6 / t**0.3, dtype=torch.float64), (1, 1, 1))
"""Of images of one pixel, where cosines are pixels; of no particular truth, for what is relative to it cancels."""


def ingredients(*parts: object) -> Ingredients:
    return Ingredients.of(WORLD.schedule, DATA, *parts)


def images(values: Tensor) -> Tensor:
    """Of one pixel each."""
    return values.reshape(-1, 1, 1, 1)


def regressed(kind: type[HeadCovariance], mean: Mean, x_t: Tensor, t: int) -> Tensor:
    """E[head_target | x_t] (B, 1, 1, 1): what a head of infinite capacity and data would return.

    Pixels are independent, so that v * (J v) is the derivative whatever the signs.
    """
    eps, weights = eps_grid(WORLD, x_t, t)
    abar, bbar = WORLD.schedule.alpha_bar[t], WORLD.schedule.beta_bar[t]
    x_0 = (x_t[:, None] - bbar.sqrt() * eps) / abar.sqrt()
    eps_hat, curvature = (images(of_x[:, None].expand_as(eps)) for of_x in (mean(x_t, t), derivative(mean, x_t, t)))
    look = told_look(WORLD.schedule, images(x_t[:, None].expand_as(eps)), t, eps_hat)
    noised = Noised(WORLD.schedule, images(x_0), images(eps), look, curvature=curvature)
    target = kind.head_target(noised, ingredients(SPECTRUM))
    return images((weights * target.reshape(eps.shape)).sum(1))


def var_x0_of_head(name: str, mean: Mean, x_t: Tensor, t: int) -> Tensor:
    """The covariance with the ideal head, through the real class."""
    kind = registry.load(name)
    assert issubclass(kind, HeadCovariance)
    answer = regressed(kind, mean, x_t, t)
    covariance = kind(ingredients(SPECTRUM, FittedHead(lambda features, t: answer)))
    look = told_look(WORLD.schedule, images(x_t), t, images(mean(x_t, t)))
    return covariance.unbounded(look).var.flatten()


def table_at(mean: Mean, t: int) -> VarianceTable:
    """E[eps_hat^2] and E[(eps - eps_hat)^2] at t, by integration over x_t and eps."""
    x_t, weights = x_t_grid(WORLD, t)
    table = VarianceTable.empty(WORLD.schedule.T)
    error = torch.zeros((), dtype=torch.float64)
    for xs, ws in zip(x_t.split(500), weights.split(500), strict=True):
        eps, inner = eps_grid(WORLD, xs, t)
        error += (ws * (inner * (eps - mean(xs, t)[:, None]).square()).sum(1)).sum()
    table.count[t] = 1
    table.eps_hat_sq[t] = (weights * mean(x_t, t).square()).sum()
    table.error_sq[t] = error
    return table


def var_x0_of_table(name: str, table: VarianceTable, t: int) -> float:
    nothing = images(torch.zeros(1, dtype=torch.float64))
    look = told_look(WORLD.schedule, nothing, t, nothing)
    return float(registry.load(name)(ingredients(table)).unbounded(look).var)


@pytest.mark.parametrize("t", TIMES)
@pytest.mark.parametrize("name", registry.heads())
def test_with_the_exact_mean_every_head_is_the_covariance_of_x0(name: str, t: int) -> None:
    found = var_x0_of_head(name, exact_mean, SOME_X, t)
    ratio = float(WORLD.schedule.ratio[t])
    torch.testing.assert_close(found, WORLD.cov_x0(SOME_X, t), rtol=QUADRATURE, atol=ratio * QUADRATURE)


def test_the_covariance_depends_on_x_t() -> None:
    """Or the identities above would say nothing about pixels: between the modes it more than doubles."""
    cov = WORLD.cov_x0(SOME_X, 300)
    assert float(cov.max() / cov.min()) > 2


@pytest.mark.parametrize("t", TIMES)
@pytest.mark.parametrize("name", ["analytic", "corrected"])
def test_with_the_exact_mean_every_table_is_the_average_covariance(name: str, t: int) -> None:
    x_t, weights = x_t_grid(WORLD, t)
    average = float((weights * WORLD.cov_x0(x_t, t)).sum())
    ratio = float(WORLD.schedule.ratio[t])
    found = var_x0_of_table(name, table_at(exact_mean, t), t)
    assert found == pytest.approx(average, rel=QUADRATURE, abs=ratio * QUADRATURE)


@pytest.mark.parametrize("t", TIMES)
@pytest.mark.parametrize("name", ["npr", "banded"])
def test_with_a_biased_mean_npr_exceeds_the_variance_by_the_bias_squared(name: str, t: int) -> None:
    """And so does what is relative to a spectrum, for it regresses the same error."""
    excess = var_x0_of_head(name, biased_mean, SOME_X, t) / WORLD.schedule.ratio[t] - WORLD.var_eps(SOME_X, t)
    torch.testing.assert_close(excess, bias(SOME_X).square(), rtol=0, atol=QUADRATURE)


@pytest.mark.parametrize("t", TIMES)
def test_with_a_biased_mean_sn_errs_on_both_sides(t: int) -> None:
    """E[eps^2] - (eps_hat + b)^2 = Var - b (2 eps_hat + b), which follows the sign of b and eps_hat."""
    excess = var_x0_of_head("sn", biased_mean, SOME_X, t) / WORLD.schedule.ratio[t] - WORLD.var_eps(SOME_X, t)
    b = bias(SOME_X)
    torch.testing.assert_close(excess, -b * (2 * exact_mean(SOME_X, t) + b), rtol=0, atol=QUADRATURE)
    assert float(excess.min()) < -0.01 < 0.01 < float(excess.max())


@pytest.mark.parametrize("t", TIMES)
def test_with_a_biased_mean_ocm_errs_by_the_bias_s_derivative(t: int) -> None:
    """1 - sqrt(bbar) (J + b') = Var - sqrt(bbar) b': it trusts the mean, and its error is of either sign."""
    excess = var_x0_of_head("ocm", biased_mean, SOME_X, t) / WORLD.schedule.ratio[t] - WORLD.var_eps(SOME_X, t)
    slope = 0.6 * torch.cos(2 * SOME_X)
    torch.testing.assert_close(excess, -WORLD.schedule.beta_bar[t].sqrt() * slope, rtol=0, atol=QUADRATURE)
    assert float(excess.min()) < -0.01 < 0.01 < float(excess.max())


@pytest.mark.parametrize("t", TIMES)
def test_corrected_is_the_average_of_npr_also_when_biased(t: int) -> None:
    x_t, weights = x_t_grid(WORLD, t)
    npr = torch.cat([var_x0_of_head("npr", biased_mean, part, t) for part in x_t.split(500)])
    found = var_x0_of_table("corrected", table_at(biased_mean, t), t)
    assert found == pytest.approx(float((weights * npr).sum()), rel=QUADRATURE)


@pytest.mark.parametrize("t", TIMES)
def test_only_corrected_sees_the_bias(t: int) -> None:
    """With a bias corrected is too large by E b^2 exactly; analytic is off by E[b (2 eps_hat + b)] instead."""
    x_t, weights = x_t_grid(WORLD, t)
    table, ratio, b = table_at(biased_mean, t), float(WORLD.schedule.ratio[t]), bias(x_t)
    truth = float((weights * WORLD.var_eps(x_t, t)).sum())
    too_large = float((weights * b.square()).sum())
    off = float((weights * b * (2 * exact_mean(x_t, t) + b)).sum())
    assert var_x0_of_table("corrected", table, t) / ratio == pytest.approx(truth + too_large, abs=QUADRATURE)
    assert var_x0_of_table("analytic", table, t) / ratio == pytest.approx(truth - off, abs=QUADRATURE)


UNDECIDED = MixtureWorld(NoiseSchedule.linear(1000), weights=(0.5, 0.5), means=(-0.9, 0.9), variances=(0.0025, 0.0025))
"""Two narrow modes near the ends of the range: between them x_0 is as uncertain as it can be."""


@pytest.mark.parametrize("name", registry.heads())
def test_an_undecided_pixel_keeps_all_of_its_variance(name: str) -> None:
    """Var[eps | x_t] > 1 there, so a clip of var_x0 at r would take most of the variance away."""
    t, x_t = 60, torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    truth = UNDECIDED.cov_x0(x_t, t)
    assert float(UNDECIDED.var_eps(x_t, t)) > 1.5
    eps_hat = UNDECIDED.eps_hat(x_t, t)
    spectrum = told_spectrum([1, 1000], lambda t: torch.full((1, 1, 1), 0.6, dtype=torch.float64), (1, 1, 1))
    answers = {"sn": UNDECIDED.var_eps(x_t, t) + eps_hat.square(), "banded": UNDECIDED.var_eps(x_t, t) / 0.6}
    answer = answers.get(name, UNDECIDED.var_eps(x_t, t))
    head = FittedHead(lambda features, t: answer)
    covariance = registry.load(name)(Ingredients.of(UNDECIDED.schedule, DATA, spectrum, head))
    step = Step(UNDECIDED.schedule, 1, t)
    found = covariance.at(told_look(UNDECIDED.schedule, x_t, t, eps_hat)).lifted(step)
    assert float(found.var) == pytest.approx(float(step.lift(truth)), rel=1e-9)
