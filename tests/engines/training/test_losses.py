"""The two losses of heads: one minimiser, different units, and what each allows of its target."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from diffcov.engines.training.losses import LOSSES
from diffcov.nets.variance_head import LINKS

ROUNDING = 1e-12
"""Relative: a few float64 operations."""
GRID = 2e-4
"""Relative: the step of the grid of outputs on which a minimum is looked for."""

TARGETS = {
    "positive": ([0.1, 0.4, 2.0], [0.5, 0.3, 0.2]),
    "mostly zero": ([0.0, 9.0], [0.9, 0.1]),
    "either sign": ([-3.0, 0.2, 5.0], [0.4, 0.3, 0.3]),
    "tiny": ([1e-5, 7e-5], [0.25, 0.75]),
}
"""(values, probabilities) of a target; every mean is positive."""

likelihood, squared = LOSSES["likelihood"].value, LOSSES["squared"].value


def distribution(name: str) -> tuple[Tensor, Tensor]:
    values, probabilities = TARGETS[name]
    return torch.tensor(values, dtype=torch.float64), torch.tensor(probabilities, dtype=torch.float64)


def expected(loss: str, output: Tensor, name: str) -> Tensor:
    """E[loss(output, target)] for outputs of any shape."""
    values, probabilities = distribution(name)
    return (probabilities * LOSSES[loss].value(output[..., None], values)).sum(-1)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", TARGETS)
def test_the_minimiser_is_the_mean_of_the_target(loss: str, name: str) -> None:
    """Over outputs from a twentieth of the mean to twenty times it, also where single targets are negative."""
    values, probabilities = distribution(name)
    mean = float((probabilities * values).sum())
    outputs = mean * torch.arange(math.log(1 / 20), math.log(20), GRID, dtype=torch.float64).exp()
    best = outputs[expected(loss, outputs, name).argmin()]
    assert float(best) == pytest.approx(mean, rel=2 * GRID)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", TARGETS)
def test_the_slope_changes_sign_at_the_mean_and_nowhere_else(loss: str, name: str) -> None:
    """d/dg E[loss]: 0 at the mean, negative below, positive above, so that any descent ends there."""
    values, probabilities = distribution(name)
    mean = float((probabilities * values).sum())
    outputs = (mean * torch.tensor([0.01, 0.5, 1.0, 2.0, 100.0], dtype=torch.float64)).requires_grad_(True)
    (slope,) = torch.autograd.grad(expected(loss, outputs, name).sum(), outputs)
    scale = float((probabilities * values.abs()).sum()) / (mean**2 if loss == "likelihood" else 1)
    assert abs(float(slope[2])) < ROUNDING * scale
    assert torch.equal(slope.sign()[[0, 1, 3, 4]], torch.tensor([-1.0, -1.0, 1.0, 1.0], dtype=torch.float64))


def test_likelihood_is_that_of_a_gaussian() -> None:
    """target / g + log g = -2 log N(e; 0, g) - log 2 pi for a target e^2."""
    error = torch.linspace(-3, 3, 13, dtype=torch.float64)
    var = torch.tensor([[0.01], [1.0], [40.0]], dtype=torch.float64)
    log_prob = torch.distributions.Normal(0.0, var.sqrt()).log_prob(error)
    torch.testing.assert_close(
        likelihood(var, error.square()), -2 * log_prob - math.log(2 * math.pi), rtol=ROUNDING, atol=ROUNDING
    )


@pytest.mark.parametrize("c", [1e-6, 0.5, 300.0])
def test_likelihood_has_no_unit(c: float) -> None:
    """loss(c g, c x) = loss(g, x) + log c: what it says of an output does not depend on how large targets are.

    Squared error is multiplied by c^2 instead: where targets are a thousandth it cares a millionth as much.
    """
    outputs = torch.tensor([0.2, 1.0, 7.0], dtype=torch.float64)[:, None]
    targets = torch.tensor([-1.0, 0.0, 0.3, 5.0], dtype=torch.float64)
    torch.testing.assert_close(
        likelihood(c * outputs, c * targets), likelihood(outputs, targets) + math.log(c), rtol=ROUNDING, atol=ROUNDING
    )
    torch.testing.assert_close(
        squared(c * outputs, c * targets), c**2 * squared(outputs, targets), rtol=ROUNDING, atol=0.0
    )


def test_a_relative_step_of_the_output_costs_the_same_everywhere() -> None:
    """The curvature of E[likelihood] in log g at its minimum is 1, whatever the mean: every t weighs alike."""
    means = torch.tensor([1e-6, 1e-2, 1.0, 50.0], dtype=torch.float64)

    def curvature(loss: str) -> Tensor:
        log_g = means.log().requires_grad_(True)
        (slope,) = torch.autograd.grad(LOSSES[loss].value(log_g.exp(), means).sum(), log_g, create_graph=True)
        return torch.autograd.grad(slope.sum(), log_g)[0]

    torch.testing.assert_close(curvature("likelihood"), torch.ones_like(means), rtol=ROUNDING, atol=0.0)
    torch.testing.assert_close(curvature("squared"), 2 * means.square(), rtol=ROUNDING, atol=0.0)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_gradient_is_linear_in_the_target(loss: str) -> None:
    """Noise of mean 0 in the target leaves the expected gradient as it is; |target| or log(target) would not."""
    targets = torch.tensor([-2.0, 0.5, 3.0, 6.0], dtype=torch.float64)

    def gradient(target: Tensor) -> Tensor:
        output = torch.full((), 0.7, dtype=torch.float64, requires_grad=True)
        return torch.autograd.grad(LOSSES[loss].value(output, target).mean(), output)[0]

    torch.testing.assert_close(gradient(targets), gradient(targets.mean()), rtol=ROUNDING, atol=0.0)


def test_squared_is_the_published_loss_to_the_bit() -> None:
    """arXiv 2206.07309: (target - output)^2, for an output that starts at zero and is not transformed."""
    draw = torch.Generator().manual_seed(0)
    output, target = (torch.randn(2, 3, 4, 4, generator=draw) for _ in range(2))
    loss = LOSSES["squared"]
    assert torch.equal(loss.value(output, target), (output - target) ** 2)
    assert (loss.link, loss.from_start) == ("identity", False)


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_are_elementwise(loss: str) -> None:
    draw = torch.Generator().manual_seed(0)
    output, target = (torch.rand(2, 3, 4, 5, generator=draw) + 0.1 for _ in range(2))
    found = LOSSES[loss].value(output, target)
    assert found.shape == (2, 3, 4, 5)
    assert torch.equal(found[1, 2, 3, 4], LOSSES[loss].value(output[1, 2, 3, 4], target[1, 2, 3, 4]))


def test_likelihood_always_has_a_positive_output_to_judge() -> None:
    """Its link keeps a positive start positive whatever the network says; log of a negative output is no number."""
    start = torch.tensor([1e-6, 1.0], dtype=torch.float32)[:, None]
    out = LINKS[LOSSES["likelihood"].link](start, torch.tensor([-1e30, -50.0, 0.0, 50.0, 1e30]), 8.0)
    assert bool((out > 0).all())
    assert bool(torch.isfinite(likelihood(out, torch.tensor(-1.0))).all())
