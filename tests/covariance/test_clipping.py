"""The two clips: bounds of var_x0, applied before the lift, and the cap on the last noise."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from diffcov.basis import PIXEL
from diffcov.covariance import registry
from diffcov.covariance.base import Fitted
from diffcov.covariance.clipping import clip_var_x0, default_cap_levels, last_noise_cap
from diffcov.diffusion.process import DDIM, DDPM, Process, Step
from diffcov.diffusion.schedule import NoiseSchedule
from oracles.gaussian import GaussianWorld

THREE_DIGITS = 5e-3
"""Relative; the published caps are printed with three digits."""


@pytest.mark.parametrize(("y", "published"), [(1.0, 9.66e-5), (2.0, 3.87e-4)])
def test_cap_of_photographs(y: float, published: float) -> None:
    assert last_noise_cap(y, 2 / 255) == pytest.approx(published, rel=THREE_DIGITS)


def test_noise_at_the_cap_is_y_levels_large() -> None:
    """E|z| = sqrt(2/pi) std, by integration of |z| over the density of N(0, cap)."""
    y, width = 2.0, 2 / 16
    std = math.sqrt(last_noise_cap(y, width))
    z = torch.linspace(-10, 10, 20_001, dtype=torch.float64) * std
    density = torch.exp(-(z**2) / (2 * std**2)) / (std * math.sqrt(2 * math.pi))
    assert float(torch.trapezoid(z.abs() * density, z)) == pytest.approx(y * width, rel=1e-6)


def test_no_levels_no_noise() -> None:
    assert last_noise_cap(0.0, 2 / 255) == 0.0


@pytest.mark.parametrize(
    ("schedule", "process", "levels"),
    [
        (NoiseSchedule.linear(100), DDPM(), 2.0),
        (NoiseSchedule.linear(100), DDIM(), 1.0),
        (NoiseSchedule.linear(100), DDIM(0.5), 1.0),
        (NoiseSchedule.cosine(100), DDPM(), 1.0),
        (NoiseSchedule.cosine(100), DDIM(), 1.0),
        (NoiseSchedule.vp(100), DDPM(), 1.0),
    ],
    ids=str,
)
def test_default_cap(schedule: NoiseSchedule, process: Process, levels: float) -> None:
    assert default_cap_levels(schedule, process) == levels


def test_clip_is_elementwise() -> None:
    wild = torch.tensor([-1e9, -1e-9, 0.0, 0.2, 0.5, 1e9, math.inf, -math.inf], dtype=torch.float64)
    assert clip_var_x0(wild, 0.3).tolist() == [0, 0, 0, 0.2, 0.3, 0.3, 0.3, 0]
    assert clip_var_x0(wild, 0.25).tolist() == [0, 0, 0, 0.2, 0.25, 0.25, 0.25, 0]


def test_clip_to_a_bound_a_coefficient() -> None:
    wild = torch.tensor([[-1.0, 0.2, 5.0], [math.inf, -math.inf, 0.5]], dtype=torch.float32)
    upper = torch.tensor([0.1, 0.3, 1.0], dtype=torch.float64)
    found = clip_var_x0(wild, upper)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.tensor([[0, 0.2, 1.0], [0.1, 0, 0.5]]), rtol=1e-6, atol=0)
    assert clip_var_x0(torch.tensor(0.2), upper).tolist() == pytest.approx([0.1, 0.2, 0.2])


@pytest.mark.parametrize("t", [1, 30, 500, 1000])
@pytest.mark.parametrize("var_bound", [1.0, 0.25])
def test_only_the_scalar_of_a_perfect_mean_is_bounded_by_r(t: int, var_bound: float) -> None:
    """In a pixel the bound is the half range squared; in another basis, what that makes of a coefficient."""
    schedule = NoiseSchedule.linear()
    world = GaussianWorld(schedule, 0.0, 0.25)
    heads = dict.fromkeys(registry.heads(), lambda features, t: features.activations)
    known = replace(world.fitted((3, 2, 4), (1, 500, 1000)), heads=heads)
    for name in registry.COVARIANCES:
        covariance = registry.load(name).build(known)
        expected = min(float(schedule.ratio[t]), var_bound) if name == "analytic" else var_bound
        basis = covariance.basis_at(schedule, t)
        if basis is PIXEL:
            assert covariance.upper_bound(schedule, t, var_bound) == expected
        else:
            U = basis.forward(torch.eye(24, dtype=torch.float64).reshape(-1, 3, 2, 4)).flatten(1).T
            reach = expected * U.abs().sum(1).square().reshape(3, 2, 4)
            torch.testing.assert_close(covariance.upper_bound(schedule, t, var_bound), reach, rtol=1e-12, atol=0)


def test_the_clip_comes_before_the_lift() -> None:
    """Cosine, K = 10, first step: an error of 1 in the noise's variance adds 0.03 clipped and 1e7 otherwise."""
    schedule = NoiseSchedule.cosine(1000)
    world, step = GaussianWorld(schedule, 0.0, 0.25), Step(schedule, 889, 1000)
    table = world.table()
    table.error_sq[1000] += 1
    covariance = registry.load("corrected").build(Fitted(table))
    prediction = world.predict(torch.zeros(1, dtype=torch.float64), 1000)
    unclipped = step.lift(covariance.var_x0(schedule, 1000, prediction))
    clipped = covariance.var_xs(step, prediction, var_bound=1.0)
    assert float(unclipped) == pytest.approx(1.2e7, rel=0.05)
    assert float(clipped) - step.lambda2 == pytest.approx(3.0e-2, rel=0.05)
