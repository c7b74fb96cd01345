"""Grey levels to numbers and back, for every number of levels that data sets have; and images with their labels."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import Tensor

from diffcov.data import UNLABELLED, DataDescription, Examples
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


@pytest.mark.parametrize("levels", LEVELS)
def test_levels_in_double_precision_are_those_numbers_to_the_last_digits(levels: int) -> None:
    x_0 = described(levels).encode(torch.arange(levels, dtype=torch.uint8), torch.float64)
    assert x_0.dtype == torch.float64
    expected = torch.tensor([-1 + 2 * k / (levels - 1) for k in range(levels)], dtype=torch.float64)
    torch.testing.assert_close(x_0, expected, rtol=0, atol=1e-15)
    assert torch.equal(described(levels).decode(x_0), torch.arange(levels, dtype=torch.uint8))


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
    assert DataDescription.from_dict(json.loads(json.dumps(data.as_dict()))) == data
    assert str(data) == "4x5, 3 channel(s), 17 grey levels"


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
        ((1, 4, 4, 256, -math.inf, 1.0), r"must be finite and not empty, found \[-inf, 1.0\]"),
        ((1, 4, 4, 256, -1.0, math.inf), r"must be finite and not empty, found \[-1.0, inf\]"),
        ((1, 4, 4, 256, math.nan, 1.0), r"must be finite and not empty, found \[nan, 1.0\]"),
    ],
)
def test_refusals(fields: tuple[int | float, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        DataDescription(*fields)


# --- images and their labels


def images(count: int = 5) -> Tensor:
    draw = torch.Generator().manual_seed(count)
    return torch.randint(17, (count, 2, 4, 3), generator=draw, dtype=torch.uint8)


def labelled(count: int = 5) -> Examples:
    return Examples(images(count), torch.arange(count) % 3)


@pytest.mark.parametrize(
    "chosen",
    [
        slice(1, 3),
        slice(None),
        slice(-2, None),
        slice(4, 4),
        torch.tensor([3, 0, 3]),
        torch.tensor([], dtype=torch.int64),
    ],
    ids=["two", "all", "last two", "none", "places", "no place"],
)
def test_some_of_them_keep_their_labels(chosen: slice | Tensor) -> None:
    part = labelled()[chosen]
    assert torch.equal(part.images, images()[chosen])
    assert part.labels is not None
    assert torch.equal(part.labels, (torch.arange(5) % 3)[chosen])
    assert len(part) == len(images()[chosen])
    bare = Examples(images())[chosen]
    assert torch.equal(bare.images, part.images)
    assert bare.labels is None


def test_the_images_alone() -> None:
    alone = labelled().unlabelled()
    assert torch.equal(alone.images, images())
    assert alone.labels is None
    assert Examples(images()).unlabelled().labels is None


def test_they_move_together() -> None:
    """By the one device besides the CPU that is always there."""
    moved = labelled().to(torch.device("meta"))
    assert moved.device.type == "meta"
    assert moved.labels is not None
    assert moved.labels.device.type == "meta"
    assert (labelled().device.type, Examples(images()).to(torch.device("cpu")).labels) == ("cpu", None)


def test_a_class_that_is_not_told_is_below_all_classes() -> None:
    assert UNLABELLED == -1
    assert Examples(images(), torch.full((5,), UNLABELLED)).labels is not None


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        (images().float(), r"torch.float32 of shape \(5, 2, 4, 3\)"),
        (images()[0], r"torch.uint8 of shape \(2, 4, 3\)"),
        (images().long(), r"torch.int64 of shape \(5, 2, 4, 3\)"),
    ],
    ids=["floats", "one image", "int64"],
)
def test_what_is_no_images_is_refused(wrong: Tensor, found: str) -> None:
    with pytest.raises(InputError, match=rf"^examples are uint8 images \(N, C, H, W\), found {found}$"):
        Examples(wrong)


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        (torch.zeros(4, dtype=torch.int64), r"torch.int64 of shape \(4,\)"),
        (torch.zeros(5, 1, dtype=torch.int64), r"torch.int64 of shape \(5, 1\)"),
        (torch.zeros(5, dtype=torch.int32), r"torch.int32 of shape \(5,\)"),
        (torch.zeros(5), r"torch.float32 of shape \(5,\)"),
    ],
    ids=["too few", "two axes", "int32", "floats"],
)
def test_labels_that_do_not_fit_are_refused(wrong: Tensor, found: str) -> None:
    with pytest.raises(InputError, match=rf"^the labels of 5 images are int64 \(5,\), found {found}$"):
        Examples(images(), wrong)
