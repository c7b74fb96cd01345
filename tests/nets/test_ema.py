"""The moving average: its warm-up in closed form, and what it never does to either module."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from diffcov.nets.ema import EMA, ema_decay

FLOAT32 = 1e-5
"""Relative: some hundred float32 updates."""


def linear(value: float) -> nn.Linear:
    module = nn.Linear(3, 2)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(value)
    return module


@pytest.mark.parametrize(("updates", "expected"), [(0, 0.1), (1, 2 / 11), (90, 91 / 100), (10**6, 0.9999)])
def test_decay_warms_up(updates: int, expected: float) -> None:
    assert ema_decay(0.9999, updates) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("limit", [0.9999, 0.5, 0.0])
@pytest.mark.parametrize("updates", [1, 2, 7, 100])
def test_the_start_fades_as_the_product_of_decays(limit: float, updates: int) -> None:
    """From 2 towards a constant 5: 5 + (2 - 5) prod min(limit, (1+n)/(10+n))."""
    start, current = linear(2.0), linear(5.0)
    ema = EMA(start, limit)
    for _ in range(updates):
        ema.update(current)
    left = math.prod(min(limit, (1 + n) / (10 + n)) for n in range(updates))
    for parameter in ema.module.parameters():
        torch.testing.assert_close(parameter, torch.full_like(parameter, 5 - 3 * left), rtol=FLOAT32, atol=0)
    assert ema.updates == updates


def test_a_short_run_has_left_its_start() -> None:
    """After 2000 updates a constant 0.9999 would still hold 82 % of the initial weights."""
    assert math.prod(ema_decay(0.9999, n) for n in range(2000)) < 1e-6


def test_a_moving_target_is_averaged() -> None:
    """Each update by hand, with a target that moves; the average is neither the start nor the last target."""
    ema, expected = EMA(linear(0.0), 0.9999), 0.0
    for n in range(20):
        ema.update(linear(float(n + 1)))
        decay = (1 + n) / (10 + n)
        expected = decay * expected + (1 - decay) * (n + 1)
    assert 0 < expected < 20
    for parameter in ema.module.parameters():
        torch.testing.assert_close(parameter, torch.full_like(parameter, expected), rtol=FLOAT32, atol=0)


def test_the_average_is_a_copy_that_is_never_trained() -> None:
    module = nn.Sequential(linear(1.0), nn.Dropout(0.5)).train()
    ema = EMA(module, 0.9)
    module[0].weight.data.fill_(3.0)
    assert float(ema.module.state_dict()["0.weight"][0, 0]) == 1.0
    ema.update(module)
    assert not any(part.training for part in ema.module.modules())
    assert not any(p.requires_grad for p in ema.module.parameters())
    assert all(part.training for part in module.modules())
    assert all(p.requires_grad for p in module.parameters())
    assert torch.equal(module[0].weight, torch.full((2, 3), 3.0))


def test_buffers_are_copied_not_averaged() -> None:
    module = nn.BatchNorm1d(4)
    ema = EMA(module, 0.9)
    module(torch.randn(16, 4, generator=torch.Generator().manual_seed(0)) + 7)
    ema.update(module)
    assert float(module.running_mean.min()) > 0.3
    for mine, theirs in zip(ema.module.buffers(), module.buffers(), strict=True):
        assert torch.equal(mine, theirs)
        assert mine.data_ptr() != theirs.data_ptr()


def test_the_update_is_the_formula_to_the_last_bit_whatever_is_followed() -> None:
    """Parameters are looked up once a module: one that loads other weights, and another module, are followed too."""
    torch.manual_seed(0)
    module, other = (nn.Sequential(nn.Linear(5, 4), nn.GroupNorm(2, 4)) for _ in range(2))
    ema = EMA(module, 0.9)
    expected = [p.detach().clone() for p in module.parameters()]
    for n, followed in enumerate([module, module, other, module]):
        with torch.no_grad():
            followed.load_state_dict({name: torch.randn_like(p) for name, p in followed.state_dict().items()})
        ema.update(followed)
        for mine, theirs in zip(expected, followed.parameters(), strict=True):
            torch.lerp(mine, theirs.detach(), 1 - ema_decay(0.9, n), out=mine)
    for found, wanted in zip(ema.module.parameters(), expected, strict=True):
        assert torch.equal(found, wanted)
