"""Grey levels to numbers and back, for every number of levels that data sets have."""

from __future__ import annotations

import pytest
import torch

from diffcov.data import DataDescription
from diffcov.errors import InputError

FLOAT32 = 1e-6
"""A few roundings of numbers up to 1."""

LEVELS = [2, 17, 256]
RANGES = [(-1.0, 1.0), (0.0, 1.0), (-3.0, 5.0)]


def described(levels: int, low: float = -1.0, high: float = 1.0) -> DataDescription:
    return DataDescription(1, 4, 4, levels, low, high)


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize(("low", "high"), RANGES)
def test_every_level_survives_the_round_trip(levels: int, low: float, high: float) -> None:
    data = described(levels, low, high)
    pixels = torch.arange(levels, dtype=torch.uint8)
    x_0 = data.encode(pixels)
    assert x_0.dtype == torch.float32
    assert data.decode(x_0).dtype == torch.uint8
    assert torch.equal(data.decode(x_0), pixels)


@pytest.mark.parametrize("levels", LEVELS)
def test_levels_fill_the_range_evenly(levels: int) -> None:
    x_0 = described(levels).encode(torch.arange(levels, dtype=torch.uint8))
    expected = torch.tensor([-1 + 2 * k / (levels - 1) for k in range(levels)])
    torch.testing.assert_close(x_0, expected, rtol=0, atol=FLOAT32)


@pytest.mark.parametrize("levels", LEVELS)
def test_decode_takes_the_nearest_level(levels: int) -> None:
    """0.49 of a level away on either side still decodes to the same level; 0.51 to the neighbour."""
    data = described(levels)
    pixels = torch.arange(levels, dtype=torch.uint8)
    x_0, width = data.encode(pixels), 2 / (levels - 1)
    assert torch.equal(data.decode(x_0 + 0.49 * width), pixels)
    assert torch.equal(data.decode(x_0 - 0.49 * width), pixels)
    assert torch.equal(data.decode(x_0[:-1] + 0.51 * width), pixels[1:])


@pytest.mark.parametrize("levels", LEVELS)
def test_decode_clamps(levels: int) -> None:
    outside = torch.tensor([-1e9, -5.0, -1.01, 1.01, 5.0, 1e9])
    assert described(levels).decode(outside).tolist() == [0, 0, 0, levels - 1, levels - 1, levels - 1]


def test_inputs_are_left_alone() -> None:
    data, x_0, pixels = described(17), torch.tensor([0.3, 7.0]), torch.tensor([3, 16], dtype=torch.uint8)
    data.decode(x_0)
    data.encode(pixels)
    assert x_0.tolist() == pytest.approx([0.3, 7.0])
    assert pixels.tolist() == [3, 16]


def test_derived_numbers() -> None:
    data = DataDescription(3, 4, 5, 17, -1.0, 3.0)
    assert (data.shape, data.dims) == ((3, 4, 5), 60)
    assert (data.level_width, data.var_bound) == (0.25, 4.0)


def test_dictionary_round_trip() -> None:
    data = DataDescription(3, 4, 5, 17, 0.0, 1.0)
    assert DataDescription.from_dict(data.as_dict()) == data


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ((0, 4, 4), "at least one channel and one pixel"),
        ((1, 0, 4), "at least one channel and one pixel"),
        ((1, 4, -1), "at least one channel and one pixel"),
        ((1, 4, 4, 1), "2..256, found 1"),
        ((1, 4, 4, 257), "2..256, found 257"),
        ((1, 4, 4, 256, 1.0, 1.0), r"must be finite and not empty, found \[1.0, 1.0\]"),
        ((1, 4, 4, 256, 2.0, 1.0), r"must be finite and not empty, found \[2.0, 1.0\]"),
    ],
)
def test_refusals(fields: tuple[int | float, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        DataDescription(*fields)
