"""Residual matrices: second moments of pairs, shrunk as much as their noise deserves, in a basis of their own."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from diffcov.basis import Dense, cosine
from diffcov.data import DataDescription
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import InputError
from diffcov.statistics.knots import Knots
from diffcov.statistics.matrices import LARGEST, ResidualMatrices
from oracles.correlated import correlated, world_of
from oracles.diagonal import DiagonalWorld
from oracles.measured import no_rotation, told_matrices

SHAPE = (2, 3, 4)
D = 24
LINEAR = NoiseSchedule.linear(1000)
FLOAT32 = 2e-7
"""Relative to the largest sum: sums of products are kept in single precision."""
ONE_KNOT = Knots((300,))


def normals(count: int, covariance: Tensor, shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> Tensor:
    """Coefficients with this covariance, (count, C, H, W)."""
    draw = torch.Generator().manual_seed(seed)
    z = torch.randn(count, len(covariance), generator=draw, dtype=torch.float64)
    return (z @ torch.linalg.cholesky(covariance).T).reshape(-1, *shape)


def empty(shape: tuple[int, int, int] = SHAPE, knots: Knots = ONE_KNOT) -> ResidualMatrices:
    return ResidualMatrices.empty(knots, shape, no_rotation(shape[0]))


def measured(*parts: Tensor) -> ResidualMatrices:
    """At one knot, one call a part."""
    found = empty(tuple(parts[0].shape[1:]))
    for part in parts:
        found.add(0, part)
    return found


def matrix_of(found: ResidualMatrices, t: int, schedule: NoiseSchedule = LINEAR) -> Tensor:
    """U^T diag(var) U over pixels, (d, d), from the answer to ``diagonal``."""
    basis, var = found.diagonal(schedule, t)
    return basis.matrix.T @ (var.flatten()[:, None] * basis.matrix)


def cosines_of(shape: tuple[int, int, int]) -> Tensor:
    """(d, d), rows are the cosine basis vectors over flattened pixels."""
    d = math.prod(shape)
    return (
        cosine(*shape, no_rotation(shape[0])).inverse(torch.eye(d, dtype=torch.float64).reshape(-1, *shape)).flatten(1)
    )


# --- moments


def test_moments_are_those_of_numpy() -> None:
    """c^T c / n in full, both halves, and not less the mean: what a biased mean model errs by counts as well."""
    c = normals(7, correlated(SHAPE)) + 0.5
    flat = c.flatten(1).numpy()
    found = measured(c)
    assert found.dims == D
    assert found.total.shape == (1, D * (D + 1) // 2)
    expected = flat.T @ flat / 7
    np.testing.assert_allclose(found.moments(0).numpy(), expected, rtol=0, atol=FLOAT32 * np.abs(expected).max())
    assert found.moments(0).dtype == torch.float64
    assert abs(expected - np.cov(flat.T, bias=True)).max() > 0.1


def test_knots_do_not_mix() -> None:
    found = empty(knots=Knots((1, 500, 1000)))
    for knot in range(3):
        found.add(knot, normals(3 + knot, (1 + knot) * correlated(SHAPE), seed=knot))
    assert found.count.tolist() == [3.0, 4.0, 5.0]
    for knot in range(3):
        alone = measured(normals(3 + knot, (1 + knot) * correlated(SHAPE), seed=knot))
        assert torch.equal(found.moments(knot), alone.moments(0))
        assert found.shrinkage(knot) == alone.shrinkage(0)


def test_many_images_find_the_covariance() -> None:
    """To five standard errors of every pair: sqrt((v_ii v_jj + v_ij^2) / n)."""
    truth, n = correlated(SHAPE), 20_000
    found = measured(normals(n, truth)).moments(0)
    v = truth.diagonal()
    stderr = ((v[:, None] * v + truth.square()) / n).sqrt()
    assert float(((found - truth) / stderr).abs().max()) < 5


# --- shrinkage


def by_the_paper(c: np.ndarray) -> float:
    """Schaefer and Strimmer's lambda* pair by pair: sum Var(r_ij) / sum r_ij^2, of standardised values.

    w_kij = z_ki z_kj, w_ij its mean, r_ij = n / (n - 1) w_ij, Var(r_ij) = n / (n - 1)^3 sum_k (w_kij - w_ij)^2. Our
    values have mean 0 by nature and are not centred, so their variance is their mean square.
    """
    n, d = c.shape
    z = c / np.sqrt((c**2).mean(0))
    above = below = 0.0
    for i in range(d):
        for j in range(d):
            if i == j:
                continue
            w = z[:, i] * z[:, j]
            above += n / (n - 1) ** 3 * ((w - w.mean()) ** 2).sum()
            below += (n / (n - 1) * w.mean()) ** 2
    return min(1.0, above / below)


@pytest.mark.parametrize("n", [2, 3, 10, 60])
@pytest.mark.parametrize("odd", [0.0, 0.5])
def test_the_weight_is_that_of_the_paper(n: int, odd: float) -> None:
    shape = (1, 2, 3)
    c = normals(n, correlated(shape, odd), shape)
    expected = by_the_paper(c.flatten(1).numpy())
    assert measured(c).shrinkage(0) == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert n != 10 or 0.02 < expected < 0.98, "neither end"


def test_the_scales_of_coefficients_do_not_matter() -> None:
    """Correlations are shrunk, not covariances: the spectrum differs by orders of magnitude."""
    c, scale = normals(20, correlated(SHAPE)), torch.logspace(-3, 3, D, dtype=torch.float64).reshape(SHAPE)
    assert measured(c * scale).shrinkage(0) == pytest.approx(measured(c).shrinkage(0), rel=1e-4)


def test_independent_coefficients_are_shrunk_to_nothing_but_their_variances() -> None:
    """Of d = 64 with 200 images every correlation found is noise; the sum of 2016 squares scatters by 3 %."""
    shape = (1, 8, 8)
    for seed in range(5):
        c = normals(200, torch.logspace(-2, 0, 64, dtype=torch.float64).diag(), shape, seed)
        assert measured(c).shrinkage(0) > 0.9


def test_strong_correlations_of_many_images_are_left_alone() -> None:
    assert 0 < measured(normals(20_000, correlated(SHAPE))).shrinkage(0) < 2e-3


def test_more_images_shrink_less() -> None:
    weights = [measured(normals(n, correlated(SHAPE), seed=n)).shrinkage(0) for n in (5, 20, 80, 320, 1280)]
    assert all(later < earlier for earlier, later in pairwise(weights)), weights
    assert all(0 < weight < 1 for weight in weights)


def test_one_image_has_variances_alone() -> None:
    found = measured(normals(1, correlated(SHAPE)))
    assert found.shrinkage(0) == 1.0
    _, var = found.diagonal(LINEAR, 300)
    torch.testing.assert_close(
        var.flatten(), found.moments(0).diagonal().sort(descending=True).values, rtol=1e-9, atol=0
    )


def test_the_shrunk_matrix_is_nearer_the_truth_and_predicts_better() -> None:
    """80 images of 64 values: as measured the matrix is nearly singular, and a Gaussian of it gives real errors no
    chance; its diagonal alone is better, and the shrunk one better than both."""
    shape, n = (1, 8, 8), 80
    U, truth = cosines_of(shape), correlated(shape)
    in_cosines = U @ truth @ U.T
    found = measured(normals(n, in_cosines, shape))
    raw = found.moments(0)
    shrunk = U @ matrix_of(found, 300) @ U.T
    diagonal = raw.diagonal().diag()
    assert 0.05 < found.shrinkage(0) < 0.95

    def off(estimate: Tensor) -> float:
        """Frobenius distance of correlations, which is what the weight minimises."""
        std, true_std = estimate.diagonal().sqrt(), in_cosines.diagonal().sqrt()
        return float((estimate / (std[:, None] * std) - in_cosines / (true_std[:, None] * true_std)).norm())

    def nats(estimate: Tensor) -> float:
        """E[-log N(c; 0, estimate)] under the truth, less the constant."""
        return 0.5 * float(torch.logdet(estimate) + torch.linalg.solve(estimate, in_cosines).diagonal().sum())

    assert off(shrunk) < 0.9 * off(raw)
    assert off(shrunk) < 0.9 * off(diagonal)
    assert nats(shrunk) < nats(diagonal) - 0.5 < nats(raw) - 30
    assert nats(shrunk) - nats(in_cosines) < 20


# --- the basis in which it is diagonal


@pytest.mark.parametrize("n", [1, 2, 10, 300])
def test_diagonal_is_an_orthonormal_basis_that_gives_the_shrunk_matrix(n: int) -> None:
    """std_i std_j (r_ij (1 - weight) off the diagonal), seen in pixels; variances largest first."""
    found = measured(normals(n, correlated(SHAPE)))
    basis, var = found.diagonal(LINEAR, 300)
    assert isinstance(basis, Dense)
    assert basis.shape == var.shape == SHAPE
    assert basis.matrix.dtype == var.dtype == torch.float64
    one = torch.eye(D, dtype=torch.float64)
    torch.testing.assert_close(basis.matrix @ basis.matrix.T, one, rtol=0, atol=1e-12)
    assert float(var.min()) >= 0
    assert (var.flatten().diff() <= 0).all()
    moments, weight, U = found.moments(0), found.shrinkage(0), cosines_of(SHAPE)
    expected = (1 - weight) * moments
    expected.diagonal().copy_(moments.diagonal())
    torch.testing.assert_close(matrix_of(found, 300), U.T @ expected @ U, rtol=0, atol=1e-9)


def test_the_channels_rotation_is_undone() -> None:
    """Measured in turned colours, answered in pixels."""
    angle = torch.tensor(0.7, dtype=torch.float64)
    colour = torch.stack([torch.stack([angle.cos(), angle.sin()]), torch.stack([-angle.sin(), angle.cos()])])
    truth = correlated(SHAPE)
    for rotation in (no_rotation(2), colour):
        found = told_matrices([300], lambda t: truth, SHAPE, rotation)
        torch.testing.assert_close(matrix_of(found, 300), truth, rtol=0, atol=FLOAT32)


def test_a_coefficient_that_never_varies_is_no_trouble() -> None:
    c = normals(10, correlated(SHAPE))
    c[:, 0, 1, 2] = 0
    found = measured(c)
    assert 0 <= found.shrinkage(0) <= 1
    basis, var = found.diagonal(LINEAR, 300)
    assert torch.isfinite(basis.matrix).all()
    assert torch.isfinite(var).all()
    assert 0 <= float(var.flatten()[-1]) < 1e-12


def test_what_is_asked_at_one_time_and_schedule_does_not_change_another_answer() -> None:
    """Answers are kept; they belong to their time and to their schedule."""
    world = world_of(correlated(SHAPE), SHAPE, LINEAR)
    cosine_schedule = NoiseSchedule.cosine(1000)
    fresh, asked = world.matrices((1, 300, 1000)), world.matrices((1, 300, 1000))
    for t in (1, 500, 800):
        asked.diagonal(LINEAR, t)
    for t in (500, 800, 1):
        torch.testing.assert_close(
            matrix_of(asked, t, cosine_schedule), matrix_of(fresh, t, cosine_schedule), rtol=0, atol=1e-12
        )
    assert not torch.allclose(matrix_of(fresh, 500, LINEAR), matrix_of(fresh, 500, cosine_schedule), rtol=1e-3)


def test_images_that_come_later_count() -> None:
    c = normals(20, correlated(SHAPE))
    early = measured(c[:10])
    before = matrix_of(early, 300)
    early.add(0, c[10:])
    torch.testing.assert_close(matrix_of(early, 300), matrix_of(measured(c[:10], c[10:]), 300), rtol=0, atol=1e-12)
    assert not torch.allclose(matrix_of(early, 300), before, rtol=1e-3)


# --- the exact covariance, at knots and between them

BETWEEN = {"linear": 0.02, "cosine": 0.05}
"""Relative error of the variance in any direction, between knots as the program spreads them (32 asked for, T = 1000).
Correlations are straight in log-SNR there, which is what keeps them positive definite."""


@pytest.mark.parametrize("family", ["linear", "cosine"])
@pytest.mark.parametrize("odd", [0.0, 0.05])
def test_the_exact_covariance_of_correlated_pixels(family: str, odd: float) -> None:
    schedule = getattr(NoiseSchedule, family)(1000)
    world = world_of(correlated(SHAPE, odd), SHAPE, schedule)
    knots = Knots.spread(schedule, 32)
    found = world.matrices(knots.times)

    def worst(t: int) -> float:
        """The largest relative error of the variance over all directions."""
        root = torch.linalg.cholesky(world.cov_eps(t))
        half = torch.linalg.solve_triangular(root, matrix_of(found, t, schedule), upper=False)
        ratio = torch.linalg.solve_triangular(root, half.T, upper=False)
        return float((torch.linalg.eigvalsh((ratio + ratio.T) / 2) - 1).abs().max())

    assert max(worst(t) for t in knots.times) < 2e-5, "float32 of the sums, over the smallest variance"
    between = max(worst(t) for t in range(1, 1001, 11))
    assert 1e-4 < between < BETWEEN[family]


def test_between_knots_the_spectrum_is_smooth_in_logarithms() -> None:
    """Independent cosines: no correlation is there to be interpolated, and the error is that of the spectrum."""
    var = torch.logspace(-3, 1, D, dtype=torch.float64).reshape(SHAPE)
    world = DiagonalWorld(LINEAR, var, cosine(*SHAPE, no_rotation(2)))
    found = world.matrices(Knots.spread(LINEAR, 32).times)
    for t in (2, 137, 456, 789):
        expected = world.var_eps(t).flatten().sort(descending=True).values
        torch.testing.assert_close(found.diagonal(LINEAR, t)[1].flatten(), expected, rtol=6e-4, atol=0)


def test_between_knots_correlations_are_straight_and_stay_correlations() -> None:
    """Two cosines that agree at one knot and oppose each other at the next: a cubic would pass beyond 1."""
    times, rs = (1, 300, 310, 700, 1000), (0.0, 0.99, 0.99, -0.99, -0.99)
    shape, U = (1, 1, 2), cosines_of((1, 1, 2))
    scale = torch.tensor([2.0, 0.1], dtype=torch.float64)

    def cov_eps(t: int) -> Tensor:
        r = rs[times.index(t)]
        return U.T @ (scale[:, None] * torch.tensor([[1, r], [r, 1]], dtype=torch.float64) * scale) @ U

    found, knots = told_matrices(times, cov_eps, shape), Knots(times)
    for t in (2, 150, 305, 400, 500, 690, 850):
        r = float(knots.straight(LINEAR, torch.tensor([t]))[0] @ torch.tensor(rs, dtype=torch.float64))
        expected = U.T @ (scale[:, None] * torch.tensor([[1, r], [r, 1]], dtype=torch.float64) * scale) @ U
        torch.testing.assert_close(matrix_of(found, t), expected, rtol=0, atol=1e-6)
        assert float(found.diagonal(LINEAR, t)[1].min()) > 1e-5, "no direction is lost"


# --- merging


def test_merging_is_measuring_all_at_once() -> None:
    """Moments to float32. Pairs are in units of each part's own standard deviations: the weight is nearly the same."""
    c = normals(400, correlated(SHAPE))
    whole, a, b = measured(c), measured(c[:150]), measured(c[150:])
    before = [tensor.clone() for part in (a, b) for tensor in part.tensors().values()]
    merged = a.merge(b)
    assert merged.count.tolist() == [400.0]
    torch.testing.assert_close(
        merged.moments(0), whole.moments(0), rtol=0, atol=FLOAT32 * float(whole.moments(0).abs().max())
    )
    assert merged.shrinkage(0) == pytest.approx(whole.shrinkage(0), rel=0.1)
    after = [tensor for part in (a, b) for tensor in part.tensors().values()]
    assert all(torch.equal(x, y) for x, y in zip(before, after, strict=True)), "neither is changed"
    torch.testing.assert_close(b.merge(a).total, merged.total, rtol=1e-6, atol=1e-6)
    assert torch.equal(a.merge(empty()).total, a.total)
    both = measured(c[:150], c[150:])
    assert torch.equal(both.total, merged.total), "two calls at one knot are two measurements"
    assert both.shrinkage(0) == merged.shrinkage(0)


def test_what_cannot_be_merged() -> None:
    turned = ResidualMatrices.empty(ONE_KNOT, SHAPE, no_rotation(2).flip(0))
    others = [empty(knots=Knots((301,))), empty(knots=Knots((1, 300))), empty((2, 4, 3)), empty((1, 3, 4)), turned]
    for other in others:
        with pytest.raises(InputError, match="matrices of other knots, image sizes or colour axes cannot be merged"):
            empty().merge(other)


# --- sizes, and on disk


@pytest.mark.parametrize("shape", [(1, 32, 32), (1, 1, 1024), (4, 16, 16)], ids=str)
def test_images_of_1024_values_are_the_largest(shape: tuple[int, int, int]) -> None:
    assert empty(shape).dims == LARGEST == 1024
    for larger in ((1, 32, 33), (3, 32, 32)):
        d = math.prod(larger)
        message = f"for images of at most 1024 values, and these have {d}; leave --full out"
        with pytest.raises(InputError, match=message):
            empty(larger)
        with pytest.raises(InputError, match=message):
            ResidualMatrices.check(DataDescription(*larger))


@pytest.mark.parametrize(("shape", "megabytes"), [((1, 8, 8), 0.27), ((1, 28, 28), 40), ((1, 32, 32), 68)], ids=str)
def test_half_of_a_symmetric_matrix_is_kept_in_float32(shape: tuple[int, int, int], megabytes: float) -> None:
    tensors = empty(shape, Knots.spread(LINEAR, 32)).tensors()
    assert sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) < megabytes * 1e6


def test_tensors_there_and_back() -> None:
    found = measured(normals(9, correlated(SHAPE)))
    before = matrix_of(found, 300)
    again = ResidualMatrices.from_tensors(found.tensors())
    assert all(torch.equal(value, again.tensors()[name]) for name, value in found.tensors().items())
    assert torch.equal(matrix_of(again, 300), before)


@pytest.mark.parametrize("name", ["knots", "count", "total", "pairs", "colour", "size"])
def test_missing_and_surplus_tensors(name: str) -> None:
    tensors = measured(normals(3, correlated(SHAPE))).tensors()
    without = {key: value for key, value in tensors.items() if key != name}
    for wrong in (without, {**tensors, "kurtosis": torch.ones(1)}):
        with pytest.raises(TypeError):
            ResidualMatrices.from_tensors(wrong)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("count", torch.ones(2, dtype=torch.float64)),
        ("total", torch.ones(1, 299)),
        ("total", torch.ones(2, 300)),
        ("pairs", torch.ones(2, dtype=torch.float64)),
        ("size", torch.tensor([3, 5])),
        ("knots", torch.tensor([1, 300])),
        ("colour", torch.eye(3, dtype=torch.float64)),
    ],
    ids=lambda value: value if isinstance(value, str) else "x".join(map(str, value.shape)),
)
def test_tensors_that_do_not_fit(name: str, wrong: Tensor) -> None:
    tensors = measured(normals(3, correlated(SHAPE))).tensors()
    with pytest.raises(ValueError, match="do not fit"):
        ResidualMatrices.from_tensors({**tensors, name: wrong})
