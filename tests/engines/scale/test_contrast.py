"""Contrast: every pair is counted once, and mismatch is a Wasserstein distance, by hand, by scipy, in closed form."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import wasserstein_distance
from torch import Tensor

from diffcov.engines.scale.contrast import Contrast
from diffcov.errors import InputError


def random_pixels(*shape: int, levels: int = 256, seed: int = 0) -> Tensor:
    return torch.randint(levels, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def test_every_pair_is_counted_once() -> None:
    """By hand: pairs of a row and pairs of a column, all channels, at lags 1 and 2."""
    pixels = random_pixels(2, 2, 3, 5, levels=9)
    expected = torch.zeros(2, 9, dtype=torch.float64)
    for row, lag in enumerate((1, 2)):
        for image in pixels.tolist():
            for channel in image:
                for y in range(3):
                    for x in range(5):
                        if x + lag < 5:
                            expected[row, abs(channel[y][x] - channel[y][x + lag])] += 1
                        if y + lag < 3:
                            expected[row, abs(channel[y][x] - channel[y + lag][x])] += 1
    assert torch.equal(Contrast.of([pixels], 9).counts, expected)


@pytest.mark.parametrize(("side", "lags"), [(2, 1), (3, 2), (4, 2), (5, 3), (8, 3), (9, 4), (16, 4), (17, 5)])
def test_lags_double_up_to_the_shorter_side(side: int, lags: int) -> None:
    assert Contrast.of([random_pixels(1, 1, side, 40)], 256).counts.shape == (lags, 256)
    assert Contrast.of([random_pixels(1, 1, 40, side)], 256).counts.shape == (lags, 256)


def differences(pixels: Tensor, lag: int) -> Tensor:
    """|pixel - pixel| at a lag along rows and columns, sorted."""
    signed = pixels.int()
    rows = (signed[..., lag:] - signed[..., :-lag]).abs().flatten()
    columns = (signed[..., lag:, :] - signed[..., :-lag, :]).abs().flatten()
    return torch.cat([rows, columns]).double().sort().values


@pytest.mark.parametrize("levels", [17, 256])
def test_mismatch_is_the_wasserstein_distance(levels: int) -> None:
    """Of equally many values it is the mean over pairs in sorted order."""
    ours = random_pixels(7, 3, 6, 6, levels=levels, seed=1) // 2
    data = random_pixels(7, 3, 6, 6, levels=levels, seed=2)
    moved, size = 0.0, 0.0
    for lag in (1, 2, 4):
        a, b = (differences(pixels, lag) for pixels in (ours, data))
        moved += float((a - b).abs().pow(1.25).mean())
        size += float(b.pow(1.25).mean())
    found = Contrast.of([ours], levels).mismatch(Contrast.of([data], levels))
    assert found == pytest.approx((moved / size) ** 0.8, rel=1e-9)


def test_of_order_one_it_is_scipy_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of unequally many values, where quantiles do not pair up."""
    monkeypatch.setattr("diffcov.engines.scale.contrast.ORDER", 1.0)
    ours, data = random_pixels(7, 3, 6, 6, seed=1) // 2, random_pixels(5, 3, 6, 6, seed=2)
    moved, size = 0.0, 0.0
    for lag in (1, 2, 4):
        a, b = (differences(pixels, lag).numpy() for pixels in (ours, data))
        moved += wasserstein_distance(a, b)
        size += b.mean()
    found = Contrast.of([ours], 256).mismatch(Contrast.of([data], 256))
    assert found == pytest.approx(moved / size, rel=1e-9)


def test_by_hand() -> None:
    """Half the data's differences are 4, the others 0; of ours a quarter are 1 and a quarter 3."""
    data = Contrast(torch.tensor([[2.0, 0, 0, 0, 2]], dtype=torch.float64))
    ours = Contrast(torch.tensor([[4.0, 2, 0, 2, 0]], dtype=torch.float64))
    assert ours.mismatch(data) == pytest.approx(((3**1.25 + 1) / 4 / (4**1.25 / 2)) ** 0.8, rel=1e-12)


def test_a_lag_without_contrast_is_no_obstacle() -> None:
    """Stripes of period 2 repeat at lag 2; what is there in ours is too much."""
    stripes = torch.tensor([0, 8], dtype=torch.uint8).repeat(2)[None, None, None, :].expand(1, 1, 4, 4)
    data = Contrast.of([stripes], 17)
    assert data.counts[:, 0].tolist() == [12, 16]
    assert Contrast.of([stripes // 2], 17).mismatch(data) == pytest.approx(0.5)
    shifted = torch.tensor([0, 8, 8, 0], dtype=torch.uint8)[None, None, None, :].expand(1, 1, 4, 4)
    # lag 1: 12 of 24 pairs differ in the data, 8 in ours; lag 2: none of 16 in the data, 8 in ours
    assert Contrast.of([shifted], 17).mismatch(data) == pytest.approx(((1 / 6 + 1 / 2) / (1 / 2)) ** 0.8)


@pytest.mark.parametrize("sigma", [10.0, 18.0, 20.0, 25.0])
def test_of_two_gaussians_it_is_the_relative_difference_of_their_deviations(sigma: float) -> None:
    """|a - b| of independent N(m, s^2) is half-normal with scale s sqrt(2), and quantiles are proportional to it."""
    draw = torch.Generator().manual_seed(0)
    noise = torch.randn(200, 1, 16, 16, generator=draw)
    images = [(128 + s * noise).round().clamp(0, 255).to(torch.uint8) for s in (sigma, 20.0)]
    found = Contrast.of([images[0]], 256).mismatch(Contrast.of([images[1]], 256))
    assert found == pytest.approx(abs(sigma - 20) / 20, abs=2e-3)


def test_flat_images_lack_all_of_it() -> None:
    flat = Contrast.of(torch.full((2, 1, 8, 8), 3, dtype=torch.uint8), 256)
    assert flat.mismatch(Contrast.of([random_pixels(2, 1, 8, 8)], 256)) == pytest.approx(1.0)


def test_faint_strokes_with_speckle_do_not_pass_for_data() -> None:
    """The mean difference is the data's, the distribution is not."""
    data = torch.zeros(50, 1, 8, 8, dtype=torch.uint8)
    data[:, :, :, 4] = 200
    speckled = (data // 2) + random_pixels(50, 1, 8, 8, levels=50)
    ours, theirs = Contrast.of([speckled], 256), Contrast.of([data], 256)
    means = [float((one.counts[0] * torch.arange(256)).sum() / one.counts[0].sum()) for one in (ours, theirs)]
    assert means[0] == pytest.approx(means[1], rel=0.05)
    assert ours.mismatch(theirs) > 0.5


def test_of_all_images_is_merged_of_some() -> None:
    pixels = random_pixels(9, 2, 4, 5)
    whole = Contrast.of([pixels], 256)
    assert torch.equal(Contrast.of([pixels[:4]], 256).merge(Contrast.of([pixels[4:]], 256)).counts, whole.counts)
    assert torch.equal(Contrast.of(pixels.split(2), 256).counts, whole.counts)
    assert whole.mismatch(whole) == 0


def test_what_has_no_contrast_is_refused() -> None:
    flat = Contrast.of([torch.tensor([3, 9], dtype=torch.uint8)[:, None, None, None].expand(2, 1, 4, 4)], 17)
    with pytest.raises(InputError, match="no contrast: all pixels of each are equal"):
        flat.mismatch(flat)
    with pytest.raises(InputError, match=r"at least 2x2 pixels, found \(1, 8\)"):
        Contrast.of([random_pixels(2, 1, 1, 8)], 256)
