"""Bands of frequency against exact fractions, and overlapping ones that share every coefficient out."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch

from diffcov.basis import band_weights, radial_bands
from diffcov.basis.bands import frequency_radius

EXACT = 1e-12
SIZES = [(1, 1), (8, 8), (5, 7), (28, 28)]


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


@pytest.mark.parametrize(("H", "W"), [(1, 1), (1, 5), (5, 7), (8, 8), (4, 8), (64, 48)])
def test_the_radius_counts_half_periods_along_the_longer_side(H: int, W: int) -> None:
    """In fractions: radius^2 = (u L / H)^2 + (v L / W)^2 with L the longer side."""
    radius, longest = frequency_radius(H, W), max(H, W)
    assert radius.dtype == torch.float64
    for u in range(H):
        for v in range(W):
            truth = Fraction(u * longest, H) ** 2 + Fraction(v * longest, W) ** 2
            assert float(radius[u, v]) == pytest.approx(math.sqrt(truth), rel=EXACT)


# --- overlapping bands

SOME = [
    (H, W, bands) for H, W in [(1, 1), (1, 9), (9, 1), (5, 7), (8, 8), (32, 32), (64, 48)] for bands in (2, 3, 8, 17)
]


@pytest.mark.parametrize(("H", "W", "bands"), SOME)
def test_each_coefficient_is_shared_out_completely(H: int, W: int, bands: int) -> None:
    """Weights in [0, 1] that sum to 1, at most two neighbours above 0."""
    weights = band_weights(H, W, bands)
    assert weights.shape == (bands, H, W)
    assert weights.dtype == torch.float64
    assert float(weights.min()) >= 0
    torch.testing.assert_close(weights.sum(0), torch.ones(H, W, dtype=torch.float64), rtol=0, atol=EXACT)
    for column in weights.flatten(1).T:
        above = column.nonzero().flatten().tolist()
        assert len(above) in (1, 2)
        assert above[-1] - above[0] == len(above) - 1


@pytest.mark.parametrize("bands", [2, 3, 8, 17])
@pytest.mark.parametrize(("H", "W"), [(1, 9), (5, 7), (8, 8), (64, 48)])
def test_bands_run_from_the_mean_alone_to_the_highest_frequency(H: int, W: int, bands: int) -> None:
    """Their centre of weight is (bands - 1) log(1 + radius) / log(1 + largest radius)."""
    weights = band_weights(H, W, bands)
    assert weights[:, 0, 0].tolist() == [1.0] + [0.0] * (bands - 1)
    assert weights[:, -1, -1].tolist() == pytest.approx([0.0] * (bands - 1) + [1.0], abs=EXACT)
    centre = (weights * torch.arange(bands, dtype=torch.float64)[:, None, None]).sum(0)
    radius = frequency_radius(H, W)
    expected = (bands - 1) * radius.log1p() / radius.log1p().max()
    torch.testing.assert_close(centre, expected, rtol=0, atol=1e-10)


def test_the_weights_of_a_transposed_image_are_transposed() -> None:
    assert torch.equal(band_weights(5, 7, 4), band_weights(7, 5, 4).transpose(1, 2))
