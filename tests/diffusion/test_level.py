"""One noise level: the two numbers that mix images and noise, and the mixture."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from diffcov.diffusion.level import Level, q_sample
from diffcov.diffusion.schedule import FAMILIES, NoiseSchedule
from oracles.exact import MP, exact, relative_error

EXACT = 1e-12
"""Relative, for coefficients in float64."""

LINEAR = NoiseSchedule.linear(1000)


def images(seed: int) -> Tensor:
    return torch.randn(4, 3, 5, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("family", ["linear", "cosine", "vp"])
def test_a_level_is_exact_at_every_time(family: str) -> None:
    schedule, truth, like = FAMILIES[family](1000), exact(family, 1000), images(0)
    together = Level.at(schedule, torch.arange(1001), like)
    for t in range(1001):
        alone = Level.at(schedule, t, like)
        assert relative_error(alone.signal, MP.sqrt(truth.alpha_bar[t])) < EXACT, t
        assert relative_error(alone.noise, MP.sqrt(truth.beta_bar(t))) < EXACT, t
        assert relative_error(float(together.signal[t]), MP.sqrt(truth.alpha_bar[t])) < EXACT, t
        assert relative_error(float(together.noise[t]), MP.sqrt(truth.beta_bar(t))) < EXACT, t


def test_a_level_of_one_time_is_two_numbers_and_of_a_time_an_image_two_columns() -> None:
    one, several = Level.at(LINEAR, 7, images(0)), Level.at(LINEAR, torch.tensor([7, 7, 1, 0]), images(0).float())
    assert isinstance(one.signal, float)
    assert isinstance(one.noise, float)
    for column in (several.signal, several.noise):
        assert column.shape == (4, 1, 1, 1)
        assert column.dtype == torch.float32
    assert (float(several.signal[3]), float(several.noise[3])) == (1.0, 0.0)


def test_signal_and_noise_have_the_power_of_one() -> None:
    level = Level.at(LINEAR, torch.arange(1, 1001), torch.zeros(1000, 1, 1, 1, dtype=torch.float64))
    power = level.signal.square() + level.noise.square()
    torch.testing.assert_close(power, torch.ones_like(power), rtol=EXACT, atol=0)


def test_q_sample_by_hand() -> None:
    """sqrt(0.36) * 0.5 + sqrt(0.64) * 2 = 1.9; time 0 is the data."""
    schedule = NoiseSchedule.from_alpha_bar([0.36, 0.01])
    x_0, eps = torch.full((1, 1, 1, 1), 0.5).double(), torch.full((1, 1, 1, 1), 2.0).double()
    assert float(q_sample(schedule, x_0, 1, eps)) == pytest.approx(1.9, rel=EXACT)
    assert torch.equal(q_sample(schedule, x_0, 0, eps), x_0)


def test_one_time_an_image() -> None:
    """A (B,) tensor of times gives every image its own, the same as one call an image."""
    x_0, eps, times = images(0), images(1), torch.tensor([1, 10, 500, 1000])
    together = q_sample(LINEAR, x_0, times, eps)
    alone = [q_sample(LINEAR, x_0[i : i + 1], int(t), eps[i : i + 1]) for i, t in enumerate(times)]
    assert torch.equal(together, torch.cat(alone))


@pytest.mark.parametrize("t", [3, torch.full((4,), 3)], ids=["one time", "a time an image"])
def test_at_the_end_of_a_zero_terminal_schedule_there_is_noise_alone(t: int | Tensor) -> None:
    schedule = NoiseSchedule.from_betas([0.1, 0.5, 1.0])
    assert torch.equal(q_sample(schedule, images(0), t, images(1)), images(1))
    level = Level.at(schedule, t, images(0))
    assert float(torch.as_tensor(level.signal).max()) == 0.0
    assert math.sqrt(float(torch.as_tensor(level.noise).min())) == 1.0
