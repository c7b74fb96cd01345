"""Features: in order, in batches, as vectors, and only numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from diffcov.data import DataDescription
from diffcov.engines.distances.features import FeatureSpace, features_of, pixels
from diffcov.errors import InputError, NonFiniteError

DATA = DataDescription(3, 4, 2, levels=17, low=-2.0, high=2.0)


def images(count: int) -> Tensor:
    draw = torch.Generator().manual_seed(count)
    return torch.randint(17, (count, *DATA.shape), generator=draw, dtype=torch.uint8)


def test_pixels_are_x_0() -> None:
    space = pixels(DATA)
    found = features_of(space, images(5))
    assert (space.name, space.dims) == ("pixels", 24)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, images(5).reshape(5, -1) * 0.25 - 2, rtol=0, atol=1e-6)


def test_other_data_are_another_space() -> None:
    assert pixels(DATA).digest == pixels(DataDescription(3, 4, 2, levels=17, low=-2.0, high=2.0)).digest
    others = [DataDescription(3, 4, 2, levels=17), DataDescription(3, 2, 4, levels=17, low=-2.0, high=2.0)]
    assert len({space.digest for space in map(pixels, [DATA, *others])}) == 3


@pytest.mark.parametrize("batch_size", [1, 4, 10, 100])
def test_batches_change_nothing(batch_size: int) -> None:
    all_images, told = images(10), list[int]()
    whole = features_of(pixels(DATA), all_images)
    assert torch.equal(features_of(pixels(DATA), all_images, batch_size, told.append), whole)
    assert told == [*range(batch_size, 10, batch_size), 10]
    parts = iter([all_images[:3], all_images[3:3], all_images[3:]])
    assert torch.equal(features_of(pixels(DATA), parts, batch_size), whole)


def test_nan_names_the_images() -> None:
    def extract(batch: Tensor) -> Tensor:
        values = batch.flatten(1).float()
        return values / (values[:, :1] != 16)

    bright = images(10).clamp(max=15)
    bright[6, 0, 0, 0] = 16
    with pytest.raises(NonFiniteError, match=r"the odd features of images 4\.\.7 hold NaN or infinity"):
        features_of(FeatureSpace("odd", "0", 24, extract), bright, batch_size=4)


def test_no_image() -> None:
    for nothing in ([], images(3)[:0]):
        with pytest.raises(InputError, match="there are no images"):
            features_of(pixels(DATA), nothing)
