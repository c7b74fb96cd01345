"""The Frechet distance against closed forms and against scipy's general matrix square root."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch

from diffcov.engines.distances import frechet
from diffcov.engines.distances.frechet import Gaussian, frechet_distance, require_enough
from diffcov.errors import InputError, UsageError

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


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = torch.randn(50, 4, generator=torch.Generator().manual_seed(7)) + 100
    monkeypatch.setattr(frechet, "BLOCK", 7)
    found = Gaussian.of(vectors)
    np.testing.assert_allclose(found.mean, vectors.double().numpy().mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(vectors.double().numpy().T), rtol=1e-9)


def test_constant_features_give_a_number() -> None:
    """A pixel that is always black has no variance; a set of equal images has none at all."""
    spread = torch.randn(40, 3, generator=torch.Generator().manual_seed(8)).double()
    dead = torch.cat([spread, torch.full((40, 2), -1.0)], dim=1)
    alike = torch.ones(40, 5).double()
    a, b = Gaussian.of(dead), Gaussian.of(alike)
    expected = float((a.mean - 1).square().sum() + a.covariance.trace())
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-12)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-12)
    assert frechet_distance(a, a) == pytest.approx(0.0, abs=1e-6)
    assert frechet_distance(b, b) == 0.0


def test_fewer_vectors_than_dimensions_are_refused() -> None:
    require_enough(64, 64, "samples")
    with pytest.raises(UsageError) as caught:
        require_enough(63, 64, "samples")
    message = str(caught.value)
    assert "in 64 dimensions needs at least 64 samples, found 63" in message
    assert "--count" in message
    assert "fewer dimensions" in message
