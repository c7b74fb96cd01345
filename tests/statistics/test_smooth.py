"""The smoothing spline: lines kept, bends followed as far as the values' errors allow, and an error that is true."""

from __future__ import annotations

import torch
from torch import Tensor

from diffcov.statistics.smooth import SmoothCurve


def places(count: int) -> Tensor:
    return torch.linspace(-9, 9, count, dtype=torch.float64)


def test_a_straight_line_is_kept_and_continued_between_its_values() -> None:
    x, between = places(7), places(50)
    curve = SmoothCurve(x, (3 - 2 * x)[:, None], torch.full((7,), 0.01, dtype=torch.float64))
    torch.testing.assert_close(curve.mean(between)[:, 0], 3 - 2 * between, rtol=0, atol=1e-8)


def test_each_value_is_an_average_of_all() -> None:
    x = places(9)
    weights = SmoothCurve(x, x.sin()[:, None], torch.full((9,), 0.1, dtype=torch.float64)).weights(places(31))
    torch.testing.assert_close(weights.sum(1), torch.ones(31, dtype=torch.float64), rtol=0, atol=1e-9)


def test_values_without_error_are_met_and_a_smooth_truth_is_met_between_them() -> None:
    x, between = places(25), places(200)
    curve = SmoothCurve(x, (x / 3).sin()[:, None], torch.zeros(25, dtype=torch.float64))
    torch.testing.assert_close(curve.mean(x)[:, 0], (x / 3).sin(), rtol=0, atol=1e-6)
    torch.testing.assert_close(curve.mean(between)[:, 0], (between / 3).sin(), rtol=0, atol=2e-3)


def test_the_roughness_is_that_of_the_values() -> None:
    x, noise = places(40), torch.randn(40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    variance = torch.full((40,), 0.05**2, dtype=torch.float64)
    line, wave = (SmoothCurve(x, (truth + 0.05 * noise)[:, None], variance).theta for truth in (x, x.sin()))
    assert line < 1e-3 * wave


def test_its_error_is_that_of_independent_repetitions() -> None:
    """Over 200 noises: mean squared distance to the truth over the stated variance, within a tenth; far below raw."""
    x, between = places(30), places(100)
    spread = 0.05 + 0.05 * torch.linspace(0, 1, 30, dtype=torch.float64)
    draw = torch.Generator().manual_seed(3)
    ratios, gains = [], []
    for _ in range(200):
        y = (x / 4).sin() + spread * torch.randn(30, dtype=torch.float64, generator=draw)
        curve = SmoothCurve(x, y[:, None], spread.square())
        off = curve.mean(between)[:, 0] - (between / 4).sin()
        ratios.append(float((off.square() / curve.stderr(between).square()).mean()))
        gains.append(float(off.square().mean() / spread.square().mean()))
    assert 0.6 < sum(ratios) / 200 < 1.15, "honest, or a little too careful"
    assert sum(gains) / 200 < 0.4, "a curve knows more than one value"
