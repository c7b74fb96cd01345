"""The features without a network: what they see of an image, and what they do not."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from diffcov.basis import radial_bands
from diffcov.data import DataDescription
from diffcov.engines.distances.distances import Reference, distances
from diffcov.engines.distances.features import features_of
from diffcov.engines.distances.frechet import Gaussian
from diffcov.engines.distances.spectral_features import FLOOR, spectrum_space

DATA = [DataDescription(1, 8, 8, levels=17), DataDescription(3, 16, 8)]


def images(data: DataDescription, count: int = 300) -> Tensor:
    """Smooth noise around a grey of its own in each image."""
    draw = torch.Generator().manual_seed(0)
    noise = torch.randn(count, *data.shape, generator=draw).cumsum(-1).cumsum(-2) / 40
    return data.decode((noise - noise.mean((-2, -1), keepdim=True) + 0.2).clamp(data.low, data.high)).cpu()


@pytest.mark.parametrize("data", DATA, ids=str)
def test_a_mean_and_an_amplitude_a_band_of_each_channel(data: DataDescription) -> None:
    space = spectrum_space(data)
    bands = len(radial_bands(data.height, data.width)[1])
    found = features_of(space, images(data, 5))
    assert found.shape == (5, space.dims)
    assert space.dims == data.channels * (1 + bands)
    assert (space.name, found.dtype) == ("spectrum", torch.float32)
    torch.testing.assert_close(found[:, : data.channels], data.encode(images(data, 5)).mean((-2, -1)).float())


@pytest.mark.parametrize("data", DATA, ids=str)
def test_amplitudes_are_the_image_s_energy(data: DataDescription) -> None:
    """The basis is orthonormal: squared amplitudes, times how many coefficients a band has, are the sum of squares."""
    space, seen = spectrum_space(data), images(data, 5)
    bands, names = radial_bands(data.height, data.width)
    sizes = torch.bincount(bands.flatten(), minlength=len(names)).double()
    amplitudes = features_of(space, seen)[:, data.channels :].double().reshape(5, data.channels, -1)
    x = data.encode(seen).double()
    energy = (x - x.mean((-2, -1), keepdim=True)).square().sum((-2, -1))
    torch.testing.assert_close(((amplitudes.square() - FLOOR**2) * sizes).sum(-1), energy, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("data", DATA, ids=str)
def test_a_mirrored_image_is_the_same(data: DataDescription) -> None:
    space, seen = spectrum_space(data), images(data, 5)
    for dims in ((-1,), (-2,), (-1, -2)):
        torch.testing.assert_close(features_of(space, seen.flip(dims)), features_of(space, seen), rtol=1e-5, atol=1e-5)


def test_a_flat_image_has_a_mean_and_the_floor() -> None:
    data = DATA[0]
    found = features_of(spectrum_space(data), torch.full((1, *data.shape), 12, dtype=torch.uint8))[0]
    assert float(found[0]) == pytest.approx(0.5, abs=1e-6)
    torch.testing.assert_close(found[1:], torch.full_like(found[1:], FLOOR))


def test_contrast_scales_the_amplitudes_alone() -> None:
    data = DataDescription(1, 8, 8)
    draw = torch.Generator().manual_seed(1)
    grey = torch.randint(-40, 41, (20, 1, 8, 8), generator=draw)
    grey = grey - grey.flip(-1)  # of mean 0, so the band of the constant holds nothing but the floor
    whole, half = ((128 + part).to(torch.uint8) for part in (grey, grey // 2))
    space = spectrum_space(data)
    one, other = features_of(space, whole), features_of(space, half)
    torch.testing.assert_close(other[:, 0], one[:, 0], rtol=0, atol=0.01)
    assert float((other[:, 2:] / one[:, 2:]).mean()) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("data", DATA, ids=str)
def test_the_distance_sees_lost_contrast_and_added_grain(data: DataDescription) -> None:
    """Both are many times as far as other images of the kind."""
    space, every = spectrum_space(data), images(data, 600)
    told, others = features_of(space, every[:300]), every[300:]
    reference = Reference(Gaussian.of(told), told, 300)
    middle = data.encode(others).mean((-2, -1), keepdim=True)
    dull = data.decode(middle + 0.7 * (data.encode(others) - middle))
    noise = torch.randn(others.shape, generator=torch.Generator().manual_seed(2))
    grainy = data.decode((data.encode(others) + 0.15 * noise).clamp(data.low, data.high))
    alike, lost, grain = (distances(features_of(space, seen), reference).fid for seen in (others, dull, grainy))
    assert lost > 5 * alike
    assert grain > 5 * alike
    assert math.isfinite(alike)


def test_other_data_are_another_space() -> None:
    assert len({spectrum_space(data).digest for data in (*DATA, DataDescription(1, 8, 8))}) == 3
    assert spectrum_space(DATA[0]).digest == spectrum_space(DATA[0]).digest
