"""The contact sheet of a data set: real images, a row a class."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diffcov.data import DataDescription
from diffcov.errors import OutputError, UsageError
from diffcov.present.data_sheet import check_sheet, data_sheet, write_data_sheet
from diffcov.store.datasets import ImageDataset, Layout, load_images


def colours(labels: list[int] | None, channels: int, names: tuple[str, ...] | None = None) -> ImageDataset:
    """Plain images whose brightness is 50 times their class."""
    count = 12 if labels is None else len(labels)
    values = torch.tensor([50] * count if labels is None else [50 * label for label in labels], dtype=torch.uint8)
    images = values[:, None, None, None].expand(count, channels, 8, 8).contiguous()
    told = None if labels is None else torch.tensor(labels)
    return ImageDataset(images, DataDescription(channels, 8, 8), "here", told, layout=Layout(class_names=names))


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("names", [None, ("cat", "a class of such a long name that it is cut", "dog\n")])
def test_a_row_a_class(channels: int, names: tuple[str, ...] | None) -> None:
    sheet = pixels(data_sheet(colours([2, 0, 1, 2, 2, 0] + [1] * 20, channels, names)))
    height = (sheet.shape[0] - 16) // 3
    assert sheet.shape[0] == 3 * height + 16
    for number, shown in ((0, 2), (1, 10), (2, 3)):
        row = sheet[8 + number * height : 8 + (number + 1) * height, -430:]
        assert (row == 50 * number).all(axis=2).sum() == shown * 40 * 40, "so many images, enlarged to 40 pixels"


def test_without_classes_it_is_a_square_of_images() -> None:
    sheet = pixels(data_sheet(colours(None, 3)))
    assert (sheet == 50).all(axis=2).sum() == 12 * 40 * 40
    assert sheet.shape[:2] == (3 * 42 + 2 + 16, 4 * 42 + 2 + 16)


def test_transparent_images_lie_on_white() -> None:
    images = torch.zeros(4, 4, 8, 8, dtype=torch.uint8)
    images[:2, 3] = 255
    found = ImageDataset(images, DataDescription(4, 8, 8), "here")
    assert (pixels(data_sheet(found)) == 0).all(axis=2).sum() == 2 * 40 * 40


def test_digits_look_like_digits(tmp_path: Path) -> None:
    digits = load_images("digits")
    write_data_sheet(tmp_path / "sheet.png", digits)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.height == 10 * 42 + 10 * 2 + 16
        assert sheet.width > 10 * 42
    with pytest.raises(OutputError, match="already exists; use --force to replace it, or another --sheet"):
        check_sheet(tmp_path / "sheet.png", force=False)
    check_sheet(tmp_path / "sheet.png", force=True)
    with pytest.raises(UsageError, match=r"sheet\.jpg is not called one; give a name that ends in \.png"):
        check_sheet(tmp_path / "sheet.jpg", force=False)
