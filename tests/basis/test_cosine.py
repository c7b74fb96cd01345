"""The cosine basis against scipy and its definition, and the rotation of the channels against known covariances."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.fft
import torch
from torch import Tensor

from diffcov.basis import colour_axes, cosine, dct_matrix
from oracles.exact import MP

EXACT = 1e-12
"""Absolute, for values of order 1 in float64."""
LENGTHS = [*range(1, 18), 28, 31, 32, 64, 97, 256]
SIZES = [(1, 1), (8, 8), (5, 7), (28, 28), (1, 9), (9, 1), (2, 3), (16, 64)]


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def rotation(channels: int) -> Tensor:
    """Some orthonormal matrix that mixes all channels."""
    Q, _ = torch.linalg.qr(normal(channels, channels) + 0.1)
    Q[0] *= torch.linalg.det(Q).sign()  # a reflection of two axes would be symmetric
    return Q


# --- one axis


@pytest.mark.parametrize("n", LENGTHS)
def test_the_rows_are_orthonormal_cosines(n: int) -> None:
    C = dct_matrix(n)
    assert C.dtype == torch.float64
    torch.testing.assert_close(C @ C.T, torch.eye(n, dtype=torch.float64), rtol=0, atol=EXACT)
    expected = scipy.fft.dct(np.eye(n), type=2, norm="ortho", axis=0)
    np.testing.assert_allclose(C.numpy(), expected, rtol=0, atol=EXACT)
    assert (C.sum(1)[1:].abs() < 1e-11).all(), "only the first has a mean"


@pytest.mark.parametrize("n", [3, 8, 31, 256])
def test_the_entries_are_right_to_the_last_digits(n: int) -> None:
    """In 50 digits. An angle reduced to one turn is rounded to 7e-16; u (2 j + 1) reaches 130000 at n = 256, and its
    angle would be rounded to 6e-14 if it were not reduced while it is whole."""
    C = dct_matrix(n)
    for u in {0, 1, n // 2, n - 1}:
        for j in {0, 1, n // 3, n - 1}:
            truth = MP.cos(MP.pi * u * (2 * j + 1) / (2 * n)) * MP.sqrt(MP.mpf(1 if u == 0 else 2) / n)
            assert float(abs(MP.mpf(float(C[u, j])) - truth)) < 1e-15, (u, j)


# --- images


@pytest.mark.parametrize(("H", "W"), SIZES)
@pytest.mark.parametrize("C", [1, 2, 4])
def test_each_channel_is_scipys(C: int, H: int, W: int) -> None:
    """Any number of channels but three is left as it is."""
    x = normal(3, C, H, W)
    expected = scipy.fft.dctn(x.numpy(), type=2, norm="ortho", axes=(-2, -1))
    np.testing.assert_allclose(cosine(C, H, W).forward(x).numpy(), expected, rtol=0, atol=EXACT)


def test_three_channels_are_rotated_to_grey_and_two_opponents() -> None:
    x = normal(2, 3, 5, 7)
    red, green, blue = x.unbind(1)
    axes = [(red + green + blue) / 3**0.5, (red - blue) / 2**0.5, (red - 2 * green + blue) / 6**0.5]
    expected = scipy.fft.dctn(torch.stack(axes, 1).numpy(), type=2, norm="ortho", axes=(-2, -1))
    np.testing.assert_allclose(cosine(3, 5, 7).forward(x).numpy(), expected, rtol=0, atol=EXACT)


@pytest.mark.parametrize("C", [1, 2, 3, 4])
def test_a_given_rotation_is_applied_to_the_channels_and_in_this_direction(C: int) -> None:
    """Coefficient a is sum over c of colour[a, c] times channel c's cosines; its rows are the axes."""
    x, colour = normal(2, C, 5, 7), rotation(C)
    axes = np.stack([sum(float(colour[a, c]) * x[:, c].numpy() for c in range(C)) for a in range(C)], 1)
    expected = scipy.fft.dctn(axes, type=2, norm="ortho", axes=(-2, -1))
    found = cosine(C, 5, 7, colour)
    np.testing.assert_allclose(found.forward(x).numpy(), expected, rtol=0, atol=EXACT)
    assert C == 1 or not torch.allclose(colour, colour.T), "or the direction would not be seen"


def test_a_grey_image_has_grey_coefficients_alone() -> None:
    grey = normal(4, 1, 8, 8)
    c = cosine(3, 8, 8).forward(grey.expand(4, 3, 8, 8))
    torch.testing.assert_close(c[:, 0], 3**0.5 * cosine(1, 8, 8).forward(grey)[:, 0], rtol=0, atol=EXACT)
    assert float(c[:, 1:].abs().max()) < EXACT
    assert float(c[:, 0].abs().min()) > EXACT


def test_rows_and_columns_are_not_exchanged() -> None:
    """An image that changes downwards only has coefficients (0, u, 0) only."""
    c = cosine(1, 5, 7).forward(torch.arange(5.0).double()[:, None].expand(1, 5, 7))
    assert float(c[0, :, 1:].abs().max()) < EXACT
    assert float(c[0, 1, 0].abs()) > 1


def test_bases_are_equal_if_their_factors_are() -> None:
    assert cosine(3, 8, 8) == cosine(3, 8, 8)
    assert hash(cosine(3, 8, 8)) == hash(cosine(3, 8, 8))
    for other in (cosine(3, 8, 5), cosine(3, 5, 8), cosine(1, 8, 8), cosine(3, 8, 8, rotation(3)), None):
        assert cosine(3, 8, 8) != other


# --- the rotation of the channels


def pictures(covariance: Tensor, count: int = 50) -> Tensor:
    """uint8 (count, C, 16, 16) around 128: the channels of each pixel drawn with this covariance."""
    C = len(covariance)
    z = torch.randn(count, 16, 16, C, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    mixed = z @ torch.linalg.cholesky(covariance).T
    return (128 + mixed).permute(0, 3, 1, 2).round().clamp(0, 255).to(torch.uint8)


def test_one_channel_is_left_alone_and_three_are_grey_and_opponents() -> None:
    """Whatever the images: these axes are those of photographs, and need not be estimated."""
    for scale in (1.0, 30.0):
        one = pictures(torch.tensor([[scale]], dtype=torch.float64))
        assert torch.equal(colour_axes(one), torch.ones(1, 1, dtype=torch.float64))
        three = colour_axes(pictures(torch.diag(torch.tensor([9.0, 400.0, 25.0 * scale], dtype=torch.float64))))
        torch.testing.assert_close(three, cosine(3, 1, 1).colour, rtol=0, atol=0)
    axes = [[1 / 3**0.5] * 3, [1 / 2**0.5, 0, -1 / 2**0.5], [1 / 6**0.5, -2 / 6**0.5, 1 / 6**0.5]]
    torch.testing.assert_close(three, torch.tensor(axes, dtype=torch.float64), rtol=0, atol=EXACT)


ANGLE = 0.5
"""Radians by which the first of two axes is turned from the first channel."""
TURNED = torch.tensor([[math.cos(ANGLE), math.sin(ANGLE)], [-math.sin(ANGLE), math.cos(ANGLE)]], dtype=torch.float64)
HADAMARD = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]], dtype=torch.float64) / 2


@pytest.mark.parametrize(
    ("axes", "variances"),
    [(TURNED, [900.0, 100.0]), (HADAMARD, [900.0, 400.0, 100.0, 20.0])],
    ids=["two channels", "four channels"],
)
def test_other_numbers_of_channels_get_their_principal_axes(axes: Tensor, variances: list[float]) -> None:
    """Largest variance first, the largest entry of each axis above 0 (up to sign there is no other choice).

    50 images of 256 pixels: an axis is known to about sqrt(v1 v2 / 12800) / (v1 - v2) < 0.01 radians.
    """
    covariance = axes.T @ torch.tensor(variances, dtype=torch.float64).diag() @ axes
    found = colour_axes(pictures(covariance))
    assert found.dtype == torch.float64
    torch.testing.assert_close(found @ found.T, torch.eye(len(axes), dtype=torch.float64), rtol=0, atol=EXACT)
    aligned = (found * axes).sum(1)
    assert (aligned.abs() > math.cos(0.03)).all(), found
    largest = found.gather(1, found.abs().argmax(1, keepdim=True))
    assert (largest > 0).all()


def test_the_channels_of_the_axes_are_uncorrelated_in_the_images_themselves() -> None:
    """To rounding, not to sampling: they are the eigenvectors of exactly these pixels' covariance."""
    base = normal(4, 4)
    images = pictures(200 * (base @ base.T + torch.eye(4, dtype=torch.float64)), count=7)
    seen = colour_axes(images) @ images.double().transpose(0, 1).reshape(4, -1)
    covariance = torch.cov(seen)
    variances = covariance.diagonal()
    assert (variances[:-1] >= variances[1:]).all()
    off = covariance - variances.diag()
    assert float(off.abs().max()) < 1e-9 * float(variances.max())


def test_the_mean_of_the_channels_does_not_turn_the_axes() -> None:
    """Covariances, not second moments: a common offset of 60 levels would win otherwise."""
    covariance = TURNED.T @ torch.diag(torch.tensor([100.0, 9.0], dtype=torch.float64)) @ TURNED
    images = pictures(covariance)
    shifted = images.clone()
    shifted[:, 1] -= 60
    torch.testing.assert_close(colour_axes(shifted), colour_axes(images), rtol=0, atol=1e-9)


@pytest.mark.parametrize("C", [2, 4])
def test_images_without_colour_or_contrast_still_give_a_rotation(C: int) -> None:
    found = colour_axes(torch.full((3, C, 4, 4), 7, dtype=torch.uint8))
    torch.testing.assert_close(found @ found.T, torch.eye(C, dtype=torch.float64), rtol=0, atol=EXACT)
