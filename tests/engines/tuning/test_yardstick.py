"""The distance that chooses: the Frechet distance, of few samples along the reference's axes; its standard error."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from diffcov.engines.distances.frechet import Gaussian, frechet_distance
from diffcov.engines.tuning.judge import PER_DIMENSION, Yardstick

DIMS = 6
WIDTHS = torch.tensor([0.5, 8.0, 3.0, 0.1, 5.0, 1.0], dtype=torch.float64)
"""Variances of the reference along its axes, in no order."""


def axes() -> Tensor:
    """(6, 6) orthogonal, the axes in columns."""
    draw = torch.Generator().manual_seed(3)
    rotation: Tensor = torch.linalg.qr(torch.randn(DIMS, DIMS, generator=draw, dtype=torch.float64)).Q
    return rotation


def reference() -> Gaussian:
    return Gaussian(torch.arange(DIMS).double(), axes() @ torch.diag(WIDTHS) @ axes().T)


def vectors(count: int, mean: Tensor, covariance: Tensor, seed: int = 0) -> Tensor:
    """(count, 6) whose mean and unbiased covariance are exactly these."""
    x = torch.randn(count, DIMS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    own = Gaussian.of(x)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(own.covariance), (x - own.mean).T, upper=False).T
    return white @ torch.linalg.cholesky(covariance).T + mean


@pytest.mark.parametrize("count", [8, 23, 24, 400])
def test_with_common_axes_it_is_the_frechet_distance_at_any_count(count: int) -> None:
    """Then it is sum (m_i - mu_i)^2 + (sqrt v_i - sqrt lambda_i)^2, of few samples and of many."""
    own, shift = 0.3 * WIDTHS + 0.4, torch.tensor([0.2, -1.0, 0.5, 2.0, 0.1, -0.3], dtype=torch.float64)
    x = vectors(count, reference().mean + axes() @ shift, axes() @ torch.diag(own) @ axes().T)
    parts = shift.square() + (own.sqrt() - WIDTHS.sqrt()).square()
    assert Yardstick(reference()).distance(x) == pytest.approx(float(parts.sum()), rel=1e-9)


@pytest.mark.parametrize("count", [DIMS * PER_DIMENSION - 1, DIMS * PER_DIMENSION])
def test_few_samples_say_nothing_of_correlations(count: int) -> None:
    """A covariance of other axes but the same variances along the reference's own: seen with samples enough alone."""
    turned = torch.diag(WIDTHS).clone()
    turned[0, 5] = turned[5, 0] = 0.6 * (WIDTHS[0] * WIDTHS[5]).sqrt()
    x = vectors(count, reference().mean, axes() @ turned @ axes().T)
    found = Yardstick(reference()).distance(x)
    if count < DIMS * PER_DIMENSION:
        assert found == pytest.approx(0, abs=1e-9)
    else:
        assert found == pytest.approx(frechet_distance(Gaussian.of(x), reference()), rel=1e-9)
        assert found > 0.01


def test_with_samples_enough_it_is_the_frechet_distance() -> None:
    """Whatever the axes of the samples are."""
    draw = torch.Generator().manual_seed(9)
    x = torch.randn(100, DIMS, generator=draw) @ torch.randn(DIMS, DIMS, generator=draw)
    expected = frechet_distance(Gaussian.of(x), reference())
    assert Yardstick(reference()).distance(x) == pytest.approx(expected, rel=1e-9)


def test_fewer_samples_than_dimensions() -> None:
    x = vectors(20, reference().mean, reference().covariance)[:3]
    assert math.isfinite(Yardstick(reference()).distance(x))


def test_samples_like_the_reference_have_none() -> None:
    x = vectors(50, reference().mean, reference().covariance)
    assert Yardstick(reference()).distance(x) == pytest.approx(0, abs=1e-9)


def test_the_spread_falls_like_one_over_the_root_of_the_count() -> None:
    """Far from the reference the distance is smooth in the samples' moments: 16 times as many make it a quarter."""
    far = reference().mean + 4
    few, many = (
        Yardstick(reference()).spread(vectors(count, far, reference().covariance), resamples=200)
        for count in (100, 1600)
    )
    assert few / many == pytest.approx(4, rel=0.2)


def test_the_spread_is_that_of_other_samples() -> None:
    """By resampling one set, and by drawing many sets."""
    draw, root = torch.Generator().manual_seed(5), torch.linalg.cholesky(reference().covariance)
    sets = torch.randn(300, 200, DIMS, generator=draw, dtype=torch.float64) @ root.T + reference().mean + 4
    yardstick = Yardstick(reference())
    told = torch.tensor([yardstick.distance(x) for x in sets]).std()
    assert yardstick.spread(sets[0], resamples=200) == pytest.approx(float(told), rel=0.25)
    assert yardstick.spread(sets[0]) == yardstick.spread(sets[0]), "the same samples have the same error"
