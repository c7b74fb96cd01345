"""Bases against their explicit matrices and against scipy, bands of frequency against exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import scipy.fft
import torch
from torch import Tensor

from diffcov.basis import PIXEL, Cosine, radial_bands

EXACT = 1e-12
SIZES = [(1, 1), (8, 8), (5, 7), (28, 28)]
SHAPES = [(C, H, W) for C in (1, 2, 3, 4) for H, W in SIZES if C * H * W <= 800 or (C == 3 and H == 8)] + [(3, 1, 6)]


def matrix(shape: tuple[int, int, int]) -> Tensor:
    """U, (d, d): column j is what forward makes of pixel j."""
    d = shape[0] * shape[1] * shape[2]
    return Cosine(*shape).forward(torch.eye(d, dtype=torch.float64).reshape(d, *shape)).reshape(d, d).T


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_matrix_is_orthogonal_and_inverse_is_its_transpose(shape: tuple[int, int, int]) -> None:
    U, d = matrix(shape), shape[0] * shape[1] * shape[2]
    one = torch.eye(d, dtype=torch.float64)
    torch.testing.assert_close(U @ U.T, one, rtol=0, atol=EXACT)
    inverse = Cosine(*shape).inverse(one.reshape(d, *shape)).reshape(d, d).T
    torch.testing.assert_close(inverse, U.T, rtol=0, atol=EXACT)


@pytest.mark.parametrize("shape", [(C, H, W) for C in (1, 2, 3, 4) for H, W in SIZES], ids=str)
def test_there_and_back(shape: tuple[int, int, int]) -> None:
    basis, x = Cosine(*shape), normal(5, *shape)
    c = basis.forward(x)
    assert c.shape == x.shape
    torch.testing.assert_close(basis.inverse(c), x, rtol=0, atol=EXACT)
    torch.testing.assert_close(c.square().flatten(1).sum(1), x.square().flatten(1).sum(1), rtol=EXACT, atol=0)


@pytest.mark.parametrize(("H", "W"), [*SIZES, (1, 9), (9, 1)])
@pytest.mark.parametrize("C", [1, 2, 4])
def test_each_channel_is_scipys(C: int, H: int, W: int) -> None:
    """Any number of channels but three is left as it is."""
    x = normal(3, C, H, W)
    expected = scipy.fft.dctn(x.numpy(), type=2, norm="ortho", axes=(-2, -1))
    np.testing.assert_allclose(Cosine(C, H, W).forward(x).numpy(), expected, rtol=0, atol=EXACT)


def test_three_channels_are_rotated_to_grey_and_two_opponents() -> None:
    x = normal(2, 3, 5, 7)
    red, green, blue = x.unbind(1)
    axes = [(red + green + blue) / 3**0.5, (red - blue) / 2**0.5, (red - 2 * green + blue) / 6**0.5]
    expected = scipy.fft.dctn(torch.stack(axes, 1).numpy(), type=2, norm="ortho", axes=(-2, -1))
    np.testing.assert_allclose(Cosine(3, 5, 7).forward(x).numpy(), expected, rtol=0, atol=EXACT)


def test_a_grey_image_has_grey_coefficients_alone() -> None:
    grey = normal(4, 1, 8, 8)
    c = Cosine(3, 8, 8).forward(grey.expand(4, 3, 8, 8))
    torch.testing.assert_close(c[:, 0], 3**0.5 * Cosine(1, 8, 8).forward(grey)[:, 0], rtol=0, atol=EXACT)
    assert float(c[:, 1:].abs().max()) < EXACT
    assert float(c[:, 0].abs().min()) > EXACT


def test_rows_and_columns_are_not_exchanged() -> None:
    """An image that changes downwards only has coefficients (0, u, 0) only."""
    c = Cosine(1, 5, 7).forward(torch.arange(5.0).double()[:, None].expand(1, 5, 7))
    assert float(c[0, :, 1:].abs().max()) < EXACT
    assert float(c[0, 1, 0].abs()) > 1


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 8, 8), (2, 5, 7), (3, 5, 7), (3, 8, 8), (4, 2, 3)], ids=str)
def test_spread_is_the_diagonal_of_the_rotated_covariance(shape: tuple[int, int, int]) -> None:
    U, var = matrix(shape), normal(2, *shape).square()
    expected = torch.stack([(U @ v.flatten().diag() @ U.T).diagonal().reshape(shape) for v in var])
    torch.testing.assert_close(Cosine(*shape).spread(var), expected, rtol=0, atol=EXACT)


def test_spread_of_equal_variances_changes_nothing() -> None:
    equal = torch.full((2, 3, 8, 8), 0.37, dtype=torch.float64)
    torch.testing.assert_close(Cosine(3, 8, 8).spread(equal), equal, rtol=EXACT, atol=0)


def test_float32_stays_float32() -> None:
    basis, x = Cosine(3, 8, 8), normal(2, 3, 8, 8).float()
    for found in (basis.forward(x), basis.inverse(x), basis.spread(x)):
        assert found.dtype == torch.float32
    torch.testing.assert_close(basis.inverse(basis.forward(x)), x, rtol=0, atol=1e-5)


def test_pixels_are_what_they_are() -> None:
    x = normal(2, 3, 5, 7)
    for function in (PIXEL.forward, PIXEL.inverse, PIXEL.spread):
        assert torch.equal(function(x), x)


# --- bands


def test_bands_of_8x8() -> None:
    band, names = radial_bands(8, 8)
    assert names == ["0", "1-2", "2-4", "4-8", "8-16"]
    assert band[0].tolist() == [0, 1, 2, 2, 3, 3, 3, 3]
    assert band[:, 0].tolist() == [0, 1, 2, 2, 3, 3, 3, 3]
    assert [int(band[u, v]) for u, v in [(1, 1), (2, 2), (3, 3), (5, 6), (5, 7), (7, 7)]] == [1, 2, 3, 3, 4, 4]
    assert band.dtype == torch.int64


def test_the_shorter_side_counts_as_many_half_periods_as_the_longer() -> None:
    """(1, 0) of a 4x8 image is as long a wave as (2, 0) of an 8x8 image."""
    band, _ = radial_bands(4, 8)
    assert torch.equal(band, radial_bands(8, 8)[0][::2])
    assert torch.equal(radial_bands(8, 4)[0], band.T)


@pytest.mark.parametrize(("H", "W"), [*SIZES, (1, 2), (2, 1), (3, 64), (6, 8), (7, 14), (32, 32), (64, 48), (256, 256)])
def test_bands_are_octaves_exactly(H: int, W: int) -> None:
    """4^(b-1) <= radius^2 < 4^b in fractions; band 0 is the mean alone; numbers without gaps."""
    band, names = radial_bands(H, W)
    assert band.shape == (H, W)
    assert (band == 0).nonzero().tolist() == [[0, 0]]
    assert band.unique().tolist() == list(range(len(names)))
    longest = max(H, W)
    for u in range(0, H, max(1, H // 40)):
        for v in range(0, W, 1 if u == 0 else max(1, W // 40)):
            if (u, v) == (0, 0):
                continue
            low, high = (int(edge) for edge in names[int(band[u, v])].split("-"))
            radius_sq = Fraction(u * longest, H) ** 2 + Fraction(v * longest, W) ** 2
            assert low**2 <= radius_sq < high**2, (u, v)
            assert high == 2 * low
