"""The bounds on what may be uncertain of x_0: whose they are, and that they come before the lift."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from diffcov.basis import PIXEL
from diffcov.covariance import registry
from diffcov.covariance.ingredients import FittedHead, Ingredients
from diffcov.data import DataDescription
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.diffusion.step import Step
from oracles.gaussian import GaussianWorld

SHAPE = (3, 2, 4)


@pytest.mark.parametrize("t", [1, 30, 500, 1000])
@pytest.mark.parametrize("var_bound", [1.0, 0.25])
def test_only_the_scalar_of_a_perfect_mean_is_bounded_by_r(t: int, var_bound: float) -> None:
    """In a pixel the bound is the half range squared; in another basis, what that makes of a coefficient."""
    schedule = NoiseSchedule.linear()
    world = GaussianWorld(schedule, 0.0, 0.25)
    half = math.sqrt(var_bound)
    exact = world.ingredients(DataDescription(*SHAPE, low=-half, high=half), (1, 500, 1000))
    head = FittedHead(lambda features, t: features.activations)
    known = Ingredients.of(schedule, exact.data, *exact.parts.values(), head)
    look = replace(world.look(torch.zeros(1, *SHAPE, dtype=torch.float64), t), learned=torch.zeros(1, *SHAPE))
    for name in registry.COVARIANCES:
        covariance = registry.load(name)(known)
        expected = min(float(schedule.ratio[t]), var_bound) if name == "analytic" else var_bound
        assert covariance.pixel_bound(t) == expected
        basis = covariance.at(look).basis
        most = basis.largest_variance(covariance.pixel_bound(t))
        if basis is PIXEL:
            assert most == expected
        else:
            U = basis.forward(torch.eye(24, dtype=torch.float64).reshape(-1, *SHAPE)).flatten(1).T
            reach = expected * U.abs().sum(1).square().reshape(SHAPE)
            torch.testing.assert_close(most, reach, rtol=1e-12, atol=0)


def test_the_clip_comes_before_the_lift() -> None:
    """Cosine, K = 10, first step: an error of 1 in the noise's variance adds 0.03 clipped and 1e7 otherwise."""
    schedule = NoiseSchedule.cosine(1000)
    world, step = GaussianWorld(schedule, 0.0, 0.25), Step(schedule, 889, 1000)
    table = world.table()
    table.error_sq[1000] += 1
    covariance = registry.load("corrected")(Ingredients.of(schedule, DataDescription(1, 1, 1), table))
    look = world.look(torch.zeros(1, 1, 1, 1, dtype=torch.float64), 1000)
    unclipped = step.lift(covariance.unbounded(look).var)
    clipped = covariance.at(look).lifted(step).var
    assert float(unclipped) == pytest.approx(1.2e7, rel=0.05)
    assert float(clipped) - step.lambda2 == pytest.approx(3.0e-2, rel=0.05)
