"""The Frechet distance against closed forms and against scipy's general matrix square root."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch

from diffcov.errors import InputError
from diffcov.evaluation.frechet import Gaussian, frechet_distance

PARITY = 1e-6
"""Relative; scipy's square root of a non-symmetric product is the less exact of the two."""


def gaussian(seed: int, d: int = 6, count: int = 400) -> Gaussian:
    draw = torch.Generator().manual_seed(seed)
    mixing = torch.randn(d, d, generator=draw, dtype=torch.float64)
    return Gaussian.of(torch.randn(count, d, generator=draw, dtype=torch.float64) @ mixing + seed)


def test_mean_and_covariance_are_numpys() -> None:
    vectors = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    found = Gaussian.of(vectors)
    np.testing.assert_allclose(found.mean, vectors.double().numpy().mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(vectors.double().numpy().T), rtol=1e-12)


def test_equal_covariances_leave_the_distance_of_the_means() -> None:
    a = gaussian(1)
    b = Gaussian(a.mean + torch.arange(6.0), a.covariance)
    assert frechet_distance(a, b) == pytest.approx(float(torch.arange(6.0).square().sum()), rel=1e-9)


def test_commuting_covariances_have_a_closed_form() -> None:
    a, b = torch.tensor([1.0, 4.0, 9.0]).double(), torch.tensor([4.0, 1.0, 0.0]).double()
    zero = torch.zeros(3, dtype=torch.float64)
    expected = float((a.sqrt() - b.sqrt()).square().sum())
    assert frechet_distance(Gaussian(zero, a.diag()), Gaussian(zero, b.diag())) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_agrees_with_scipy(seed: int) -> None:
    a, b = gaussian(seed), gaussian(seed + 10)
    root = scipy.linalg.sqrtm(a.covariance.numpy() @ b.covariance.numpy()).real
    trace = float(a.covariance.trace() + b.covariance.trace()) - 2 * np.trace(root)
    expected = float((a.mean - b.mean).square().sum()) + trace
    assert frechet_distance(a, b) == pytest.approx(expected, rel=PARITY)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=PARITY)


def test_singular_covariances_give_a_number() -> None:
    few = Gaussian.of(torch.randn(3, 20, generator=torch.Generator().manual_seed(5)))
    assert frechet_distance(few, few) == pytest.approx(0.0, abs=1e-6)
    assert np.isfinite(frechet_distance(few, gaussian(6, d=20)))


def test_one_vector_is_refused() -> None:
    with pytest.raises(InputError, match="at least 2 vectors, found 1"):
        Gaussian.of(torch.zeros(1, 3))
