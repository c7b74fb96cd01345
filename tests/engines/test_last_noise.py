"""The cap on the last noise: what is published of it, and which solver and schedule get which."""

from __future__ import annotations

import math

import pytest
import torch

from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.last_noise import default_cap_levels, last_noise_cap
from diffcov.solver.base import Solver
from diffcov.solver.ddim import DDIM
from diffcov.solver.ddpm import DDPM

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
    ("schedule", "solver", "levels"),
    [
        (NoiseSchedule.linear(100), DDPM(), 2.0),
        (NoiseSchedule.linear(100), DDIM(), 1.0),
        (NoiseSchedule.linear(100), DDIM(0.5), 1.0),
        (NoiseSchedule.cosine(100), DDPM(), 1.0),
        (NoiseSchedule.cosine(100), DDIM(), 1.0),
        (NoiseSchedule.vp(100), DDPM(), 1.0),
        (NoiseSchedule.from_betas(torch.linspace(1e-4, 0.02, 100)), DDPM(), 2.0),
        (NoiseSchedule.from_betas(torch.linspace(0.01, 0.14, 100).square()), DDPM(), 1.0),
        (NoiseSchedule.from_betas([0.1, 0.2]), DDPM(), 1.0),
    ],
    ids=str,
)
def test_default_cap(schedule: NoiseSchedule, solver: Solver, levels: float) -> None:
    assert default_cap_levels(schedule, solver) == levels
