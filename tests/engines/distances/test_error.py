"""The stated error of a Frechet distance against derivatives, and against the true spread in the Gaussian world."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from diffcov.engines.distances import frechet
from diffcov.engines.distances.distances import Reference, distances
from diffcov.engines.distances.error import Ranking, frechet_influence, standard_error
from diffcov.engines.distances.frechet import Gaussian, frechet_distance

D = 6
SPREAD = torch.arange(1, D + 1, dtype=torch.float64).rsqrt()
TRUTH = Gaussian(torch.zeros(D, dtype=torch.float64), SPREAD.square().diag())


def noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def weighted(vectors: Tensor, weights: Tensor) -> Gaussian:
    """Mean and covariance under weights that sum to 1."""
    mean = weights @ vectors
    centred = vectors - mean
    return Gaussian(mean, (weights[:, None] * centred).T @ centred)


def derivatives(vectors: Tensor, truth: Gaussian, h: float) -> Tensor:
    """Of the distance by each sample's weight, central differences: one raised by h, and all scaled back; (n,)."""
    n = len(vectors)
    even = torch.full((n,), 1 / n, dtype=torch.float64)

    def distance(i: int, step: float) -> float:
        weights = (1 - step) * even + step * torch.eye(n, dtype=torch.float64)[i]
        return frechet_distance(weighted(vectors, weights), truth)

    return torch.tensor([(distance(i, h) - distance(i, -h)) / (2 * h) for i in range(n)], dtype=torch.float64)


def test_an_influence_is_the_derivative_by_a_sample_s_weight() -> None:
    vectors = noise(0, 20, D) * 0.8 * SPREAD + 0.1
    own = weighted(vectors, torch.full((20,), 1 / 20, dtype=torch.float64))
    found = frechet_influence(vectors, own, TRUTH)
    torch.testing.assert_close(found, derivatives(vectors, TRUTH, 1e-5), rtol=1e-5, atol=1e-7)
    assert float(found.mean()) == pytest.approx(0, abs=1e-12)


def test_the_distance_of_means_alone_has_a_closed_form() -> None:
    """Equal covariances: the derivative is that of |m - mu|^2, whose error is 2 sqrt((m - mu)^T S (m - mu) / n)."""
    vectors, shift = noise(1, 400, D), torch.arange(1.0, D + 1).double()
    own = Gaussian.of(vectors)
    influence = frechet_influence(vectors, own, Gaussian(own.mean - shift, own.covariance))
    torch.testing.assert_close(influence, 2 * (vectors - own.mean) @ shift, rtol=0, atol=1e-9)
    expected = 2 * math.sqrt(float(shift @ own.covariance @ shift) / 400)
    assert standard_error(influence) == pytest.approx(expected, rel=1e-9)


def test_directions_without_any_spread_change_nothing() -> None:
    vectors = noise(2, 50, D)
    flat = torch.cat([vectors, torch.zeros(50, 2)], 1)
    data = Gaussian.of(noise(3, 50, D))
    wider = Gaussian(torch.cat([data.mean, torch.zeros(2)]), torch.block_diag(data.covariance, torch.zeros(2, 2)))
    alone = frechet_influence(vectors, Gaussian.of(vectors), data)
    torch.testing.assert_close(frechet_influence(flat, Gaussian.of(flat), wider), alone, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("shift", "factor"), [(0.0, 0.85), (0.2, 0.7), (0.0, 1.3)])
def test_it_covers_as_often_as_it_says(shift: float, factor: float) -> None:
    """300 draws of 200 samples: 1.96 errors hold the mean distance in 95 %, up to 4 (three errors of such a share)."""
    drawn = []
    for seed in range(300):
        z, other = noise(seed, 2, 200, D)
        both = [SPREAD * (shift + factor * z), SPREAD * (shift + 1.05 * factor * (0.9 * z + math.sqrt(0.19) * other))]
        values = [frechet_distance(Gaussian.of(one), TRUTH) for one in both]
        influences = [frechet_influence(one, Gaussian.of(one), TRUTH) for one in both]
        paired = standard_error(influences[1] - influences[0])
        drawn.append((values[0], standard_error(influences[0]), values[1] - values[0], paired))
    value, error, difference, paired_error = torch.tensor(drawn, dtype=torch.float64).T
    for found, stated in ((value, error), (difference, paired_error)):
        covered = float(((found - found.mean()).abs() < 1.96 * stated).double().mean())
        assert 0.91 < covered < 0.99, (shift, factor)
        assert float(stated.mean()) == pytest.approx(float(found.std()), rel=0.15)
    assert float(paired_error.mean()) < 0.8 * float(error.mean()), "the same noise makes a difference sharper"


def test_samples_like_the_data_have_an_error_that_is_too_large_and_not_too_small() -> None:
    """Where the distance is nothing but bias, what is said holds more often than it says."""
    found = [distances(SPREAD * noise(seed, 200, D), Reference(TRUTH, None, 0)) for seed in range(200)]
    values = torch.tensor([one.fid for one in found])
    errors = torch.tensor([one.fid_stderr for one in found])
    assert float(((values - values.mean()).abs() < 1.96 * errors).double().mean()) > 0.94
    assert 1 < float(errors.mean() / values.std()) < 1.7


def test_distances_say_it() -> None:
    vectors = noise(4, 80, D).float()
    found = distances(vectors, Reference(TRUTH, None, 0))
    influence = frechet_influence(vectors, Gaussian.of(vectors), TRUTH)
    assert found.fid_stderr == standard_error(influence) == float(influence.std()) / math.sqrt(80)
    assert torch.equal(found.influence, influence)
    assert "influence" not in found.as_dict()


# --- the ranking


def influences(**errors: float) -> dict[str, Tensor]:
    """Independent by name, each with this standard error over 10,000 samples."""
    made = {}
    for seed, (name, error) in enumerate(errors.items()):
        drawn = noise(seed, 10_000)
        made[name] = (drawn - drawn.mean()) / drawn.std() * error * 100
    return made


def test_what_is_within_two_errors_of_the_difference_is_level() -> None:
    """Independent errors of 0.3 and 0.4 make 0.5 of the difference."""
    found = Ranking.of({"a": 3.0, "b": 2.0, "c": 2.9, "d": 3.1}, influences(a=0.4, b=0.3, c=0.4, d=0.4))
    assert found.lowest == "b"
    assert {name: above for name, (above, _) in found.differences.items()} == pytest.approx(
        {"a": 1, "c": 0.9, "d": 1.1}
    )
    assert all(error == pytest.approx(0.5, rel=0.05) for _, error in found.differences.values())
    near = [name for name, (above, error) in found.differences.items() if above <= 2 * error]
    assert found.level == ["b", *sorted(near, key={"a": 1.0, "c": 0.9, "d": 1.1}.__getitem__)], "nearest first"
    assert "c" in found.level
    assert "d" not in found.level


def test_shared_noise_tells_apart_what_single_errors_do_not() -> None:
    shared = influences(a=0.4)["a"]
    found = Ranking.of({"a": 2.0, "b": 2.1}, {"a": shared, "b": 1.05 * shared})
    assert found.differences["b"] == pytest.approx((0.1, 0.02))
    assert found.level == ["a"]


def test_equal_samples_are_level_and_one_alone_is_the_lowest() -> None:
    one = influences(a=0.4)["a"]
    assert Ranking.of({"a": 2.0, "b": 2.0}, {"a": one, "b": one}).level == ["a", "b"]
    assert Ranking.of({"a": 2.0}, {"a": one}) == Ranking("a", {})


def test_many_samples_are_taken_by_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """In their order: differences are paired image by image."""
    vectors = noise(3, 20, D)
    own = Gaussian.of(vectors)
    whole = frechet_influence(vectors, own, TRUTH)
    monkeypatch.setattr(frechet, "BLOCK", 7)
    torch.testing.assert_close(frechet_influence(vectors, own, TRUTH), whole, rtol=1e-12, atol=1e-12)


def test_an_influence_where_axes_differ_and_variances_are_far_apart() -> None:
    spread = torch.logspace(0, -2, D, dtype=torch.float64)
    root = torch.linalg.qr(noise(7, D, D))[0] * spread
    truth = Gaussian(torch.zeros(D, dtype=torch.float64), root @ root.T)
    vectors = (noise(0, 20, D) * 0.8 * spread + 0.1) @ torch.linalg.qr(noise(8, D, D))[0]
    own = weighted(vectors, torch.full((20,), 1 / 20, dtype=torch.float64))
    found = frechet_influence(vectors, own, truth)
    torch.testing.assert_close(found, derivatives(vectors, truth, 1e-4), rtol=1e-5, atol=1e-6)
