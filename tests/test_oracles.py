"""The oracles themselves: closed forms checked by other routes, so that no test leans on a wrong truth."""

from __future__ import annotations

import pytest
import torch

from diffcov.diffusion.schedule import NoiseSchedule
from oracles.gaussian import GaussianWorld
from oracles.mixture import MixtureWorld
from oracles.quadrature import eps_grid, x_t_grid

CLOSED_FORM = 1e-9
"""Two closed forms, or a converged quadrature, in float64."""

SCHEDULE = NoiseSchedule.linear(1000)
TIMES = [1, 20, 200, 500, 1000]


@pytest.mark.parametrize("t", TIMES)
def test_one_component_mixture_is_the_gaussian_world(t: int) -> None:
    gaussian = GaussianWorld(SCHEDULE, mean=0.3, var=0.2)
    mixture = MixtureWorld(SCHEDULE, weights=(1.0,), means=(0.3,), variances=(0.2,))
    x_t = torch.linspace(-2, 2, 9, dtype=torch.float64)
    torch.testing.assert_close(mixture.eps_hat(x_t, t), gaussian.eps_hat(x_t, t), rtol=0, atol=CLOSED_FORM)
    expected = torch.full_like(x_t, gaussian.cov_x0(t))
    torch.testing.assert_close(mixture.cov_x0(x_t, t), expected, rtol=CLOSED_FORM, atol=0)


@pytest.mark.parametrize("t", TIMES)
def test_mixture_eps_hat_is_the_score(t: int) -> None:
    """eps_hat = -sqrt(bbar_t) d log q(x_t) / d x_t (Tweedie), the score by automatic differentiation."""
    world = MixtureWorld(SCHEDULE)
    x_t = torch.linspace(-2, 2, 9, dtype=torch.float64, requires_grad=True)
    (score,) = torch.autograd.grad(world.log_density(x_t, t).sum(), x_t)
    expected = -SCHEDULE.beta_bar[t].sqrt() * score
    torch.testing.assert_close(world.eps_hat(x_t.detach(), t), expected, rtol=0, atol=CLOSED_FORM)


@pytest.mark.parametrize("t", TIMES)
def test_mixture_conditionals_by_bayes_rule(t: int) -> None:
    world = MixtureWorld(SCHEDULE)
    x_t = torch.linspace(-1.5, 1.5, 7, dtype=torch.float64)
    eps, weights = eps_grid(world, x_t, t)
    mean = (weights * eps).sum(1)
    var = (weights * (eps - mean[:, None]).square()).sum(1)
    torch.testing.assert_close(mean, world.eps_hat(x_t, t), rtol=0, atol=CLOSED_FORM)
    torch.testing.assert_close(var, world.var_eps(x_t, t), rtol=0, atol=CLOSED_FORM)


@pytest.mark.parametrize("t", TIMES)
def test_quadrature_weights_sum_to_one(t: int) -> None:
    assert float(x_t_grid(MixtureWorld(SCHEDULE), t)[1].sum()) == pytest.approx(1, abs=CLOSED_FORM)


def test_mixture_sampler_has_the_moments_of_the_density() -> None:
    five_standard_errors = 5 * 0.6 / 100_000**0.5
    drawn = MixtureWorld(SCHEDULE).sample((1000, 100), torch.Generator().manual_seed(0))
    assert float(drawn.mean()) == pytest.approx(0.3 * -0.7 + 0.7 * 0.4, abs=five_standard_errors)
    second = 0.3 * (0.01 + 0.49) + 0.7 * (0.04 + 0.16)
    assert float(drawn.square().mean()) == pytest.approx(second, abs=five_standard_errors)
