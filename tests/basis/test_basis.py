"""Every basis against its explicit matrix, and every pair of bases against dense arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from diffcov.basis import PIXEL, Basis, Dense, Separable, cosine

EXACT = 1e-12
"""Absolute, for values of order 1 in float64."""
Shape = tuple[int, int, int]

SIZES = [(1, 1), (8, 8), (5, 7), (1, 6), (6, 1), (2, 3), (13, 4), (3, 17)]
SHAPES = [(C, H, W) for C in (1, 2, 3, 4) for H, W in SIZES] + [(1, 28, 28)]
PAIR_SHAPES: list[Shape] = [(1, 1, 1), (1, 5, 4), (2, 3, 5), (3, 4, 2), (4, 1, 3)]
KINDS = ["pixel", "cosine", "separable", "dense"]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)), dtype=torch.float64)


def orthonormal(n: int, seed: int = 0) -> Tensor:
    Q, _ = torch.linalg.qr(normal(n, n, seed=seed))
    return Q


def make(kind: str, shape: Shape) -> Basis:
    """One of each; none but the pixels is symmetric, so that U and its transpose are told apart."""
    C, H, W = shape
    if kind == "pixel":
        return PIXEL
    if kind == "cosine":
        return cosine(C, H, W, orthonormal(C, seed=1))
    if kind == "separable":
        return Separable(orthonormal(C, seed=2), orthonormal(H, seed=3), orthonormal(W, seed=4))
    return Dense(orthonormal(C * H * W, seed=5), shape)


def matrix(basis: Basis, shape: Shape) -> Tensor:
    """U, (d, d): column j is what forward makes of pixel j."""
    d = shape[0] * shape[1] * shape[2]
    return basis.forward(torch.eye(d, dtype=torch.float64).reshape(d, *shape)).reshape(d, d).T


def functions_of(basis: Basis, shape: Shape) -> list[Callable[[Tensor], Tensor]]:
    """All that takes an image and gives one, seen in every other kind of basis."""
    seen = [partial(basis.power_in, make(kind, shape)) for kind in KINDS]
    return [basis.forward, basis.inverse, basis.spread, basis.gather, *seen]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_the_matrix_is_orthogonal_and_inverse_is_its_transpose(kind: str, shape: Shape) -> None:
    basis, d = make(kind, shape), shape[0] * shape[1] * shape[2]
    U, one = matrix(basis, shape), torch.eye(d, dtype=torch.float64)
    torch.testing.assert_close(U @ U.T, one, rtol=0, atol=EXACT)
    inverse = basis.inverse(one.reshape(d, *shape)).reshape(d, d).T
    torch.testing.assert_close(inverse, U.T, rtol=0, atol=EXACT)


def test_a_separable_matrix_is_the_kronecker_product_of_its_factors() -> None:
    shape = (3, 4, 5)
    basis = make("separable", shape)
    assert isinstance(basis, Separable)
    expected = torch.kron(torch.kron(basis.colour, basis.rows), basis.columns)
    torch.testing.assert_close(matrix(basis, shape), expected, rtol=0, atol=EXACT)


def test_a_dense_matrix_is_the_one_that_was_given() -> None:
    """Row i gives coefficient i, both counted through channels, rows and columns."""
    shape = (2, 3, 4)
    basis = make("dense", shape)
    assert isinstance(basis, Dense)
    assert torch.equal(matrix(basis, shape), basis.matrix)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back(kind: str, shape: Shape) -> None:
    basis, x = make(kind, shape), normal(5, *shape)
    c = basis.forward(x)
    assert c.shape == x.shape
    torch.testing.assert_close(basis.inverse(c), x, rtol=0, atol=EXACT)
    torch.testing.assert_close(basis.forward(basis.inverse(x)), x, rtol=0, atol=EXACT)
    torch.testing.assert_close(c.square().flatten(1).sum(1), x.square().flatten(1).sum(1), rtol=EXACT, atol=0)


@pytest.mark.parametrize("leading", [(), (1,), (3,), (2, 3)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_any_leading_axes(kind: str, leading: tuple[int, ...]) -> None:
    """Each image is turned as it is alone; cosines of one channel take another path."""
    for shape in ((1, 3, 4), (2, 3, 4)):
        basis, x = make(kind, shape), normal(*leading, *shape)
        for function in functions_of(basis, shape):
            found = function(x)
            assert found.shape == x.shape
            for one, image in zip(found.reshape(-1, *shape), x.reshape(-1, *shape), strict=True):
                torch.testing.assert_close(one, function(image), rtol=0, atol=EXACT)


@pytest.mark.parametrize("shape", PAIR_SHAPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_spread_and_gather_are_the_diagonals_of_the_rotated_covariances(kind: str, shape: Shape) -> None:
    basis, var = make(kind, shape), normal(2, *shape).square()
    U = matrix(basis, shape)
    spread = torch.stack([(U @ v.flatten().diag() @ U.T).diagonal().reshape(shape) for v in var])
    gathered = torch.stack([(U.T @ v.flatten().diag() @ U).diagonal().reshape(shape) for v in var])
    torch.testing.assert_close(basis.spread(var), spread, rtol=0, atol=EXACT)
    torch.testing.assert_close(basis.gather(var), gathered, rtol=0, atol=EXACT)


@pytest.mark.parametrize("shape", PAIR_SHAPES, ids=str)
@pytest.mark.parametrize("seen", KINDS)
@pytest.mark.parametrize("kind", KINDS)
def test_power_in_another_basis_is_the_diagonal_of_the_covariance_there(kind: str, seen: str, shape: Shape) -> None:
    """diag(V U^T diag(var) U V^T) by dense matrices, for every pair of bases, each image its own variances."""
    mine, theirs, var = make(kind, shape), make(seen, shape), normal(2, *shape).square()
    M = matrix(theirs, shape) @ matrix(mine, shape).T
    expected = torch.stack([(M @ v.flatten().diag() @ M.T).diagonal().reshape(shape) for v in var])
    found = mine.power_in(theirs, var)
    torch.testing.assert_close(found, expected, rtol=0, atol=EXACT)
    torch.testing.assert_close(found.flatten(1).sum(1), var.flatten(1).sum(1), rtol=EXACT, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_variances_are_equal_in_every_basis(kind: str) -> None:
    shape = (3, 4, 5)
    equal, basis = torch.full((2, *shape), 0.37, dtype=torch.float64), make(kind, shape)
    for found in (basis.spread(equal), basis.gather(equal), *(basis.power_in(make(k, shape), equal) for k in KINDS)):
        torch.testing.assert_close(found, equal, rtol=EXACT, atol=0)


def test_a_basis_seen_in_itself_changes_nothing() -> None:
    for kind in KINDS:
        basis, var = make(kind, (2, 3, 4)), normal(2, 2, 3, 4).square()
        torch.testing.assert_close(basis.power_in(basis, var), var, rtol=0, atol=EXACT)


# --- the largest variance of a coefficient


@pytest.mark.parametrize("shape", [*PAIR_SHAPES, (1, 8, 8), (3, 8, 8)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_the_largest_variance_is_attained_by_pixels_that_move_together(kind: str, shape: Shape) -> None:
    """x = b * signs(u) with one fair sign b has variance 1 in every pixel; its coefficient has (sum |u|)^2."""
    basis = make(kind, shape)
    U = matrix(basis, shape)
    bound = torch.as_tensor(basis.largest_variance(0.25)).double().expand(shape).flatten()
    for i, u in enumerate(U):
        together = 0.5 * u.sign()  # variance 1/4 in every pixel that matters
        coefficient = U @ together
        assert float(coefficient[i] ** 2) == pytest.approx(float(bound[i]), rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_no_distribution_exceeds_the_largest_variance(kind: str) -> None:
    """Random correlations of pixels whose variances are at most ``var_pixel``, and cosines at their worst."""
    shape, var_pixel = (2, 3, 5), 0.75
    basis, d = make(kind, shape), 30
    U, bound = matrix(basis, shape), torch.as_tensor(basis.largest_variance(var_pixel)).double().expand(shape).flatten()
    for seed in range(50):
        factor = normal(d, 1 + seed % 4, seed=seed)  # few directions: strong correlations
        std = factor.square().sum(1).sqrt()
        covariance = var_pixel * (factor @ factor.T) / (std[:, None] * std)
        assert float(covariance.diagonal().max()) == pytest.approx(var_pixel)
        assert ((U @ covariance @ U.T).diagonal() <= bound * (1 + EXACT)).all()


def test_the_largest_variance_is_in_units_of_the_pixels() -> None:
    for kind in KINDS:
        one, four = (torch.as_tensor(make(kind, (2, 3, 4)).largest_variance(v)).double() for v in (1.0, 4.0))
        torch.testing.assert_close(four, 4 * one, rtol=EXACT, atol=0)
    assert PIXEL.largest_variance(0.3) == 0.3
    assert float(torch.as_tensor(cosine(1, 4, 6).largest_variance(1.0))[0, 0, 0]) == pytest.approx(24, rel=EXACT)


# --- types


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_dtype_of_the_input_is_kept_and_both_are_served_in_turn(kind: str, dtype: torch.dtype) -> None:
    """Factors are kept once a dtype: asking in one must not change what the other gets."""
    shape = (2, 5, 4)
    basis, x = make(kind, shape), normal(3, *shape)
    exact = basis.forward(x)
    for function in functions_of(basis, shape):
        found = function(x.to(dtype))
        assert found.dtype == dtype
        assert found.device == x.device
        torch.testing.assert_close(found.double(), function(x), rtol=0, atol=EXACT if dtype is torch.float64 else 1e-5)
    assert torch.equal(basis.forward(x), exact)


@pytest.mark.parametrize("kind", KINDS)
def test_the_device_of_the_input_is_kept(kind: str) -> None:
    """By the one device besides the CPU that is always there: meta computes shapes and places, nothing else."""
    basis, x = make(kind, (2, 5, 4)), torch.zeros(3, 2, 5, 4, device="meta")
    for function in functions_of(basis, (2, 5, 4)):
        assert function(x).device.type == "meta"
        assert function(x).shape == x.shape


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_are_left_alone(kind: str) -> None:
    basis, x = make(kind, (2, 3, 4)), normal(2, 2, 3, 4).square()
    before = x.clone()
    for function in functions_of(basis, (2, 3, 4)):
        function(x)
    assert torch.equal(x, before)


def test_pixels_are_what_they_are() -> None:
    x = normal(2, 3, 5, 7)
    for function in (PIXEL.forward, PIXEL.inverse, PIXEL.spread, PIXEL.gather, lambda v: PIXEL.power_in(PIXEL, v)):
        assert torch.equal(function(x), x)


@pytest.mark.parametrize("kind", ["dense", "separable"])
def test_what_was_kept_while_sampling_serves_autograd(kind: str) -> None:
    """Factors moved in inference mode are no inference tensors, even those that were built there."""
    with torch.inference_mode():
        separable = cosine(2, 3, 4, torch.eye(2, dtype=torch.float64).clone())
        basis = Dense(
            separable.forward(torch.eye(24, dtype=torch.float64).reshape(24, 2, 3, 4)).flatten(1).T, (2, 3, 4)
        )
        chosen = basis if kind == "dense" else separable
        chosen.forward(torch.zeros(1, 2, 3, 4, dtype=torch.float64))
        chosen.forward(torch.zeros(1, 2, 3, 4))
    for dtype in (torch.float32, torch.float64):
        x = torch.ones(1, 2, 3, 4, dtype=dtype, requires_grad=True)
        (slope,) = torch.autograd.grad(chosen.forward(x).square().sum(), x)
        torch.testing.assert_close(slope, 2 * x.detach(), rtol=1e-5, atol=1e-5)
