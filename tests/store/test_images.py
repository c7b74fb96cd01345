"""Images out: every pixel where it belongs, from the same grey levels."""

from __future__ import annotations

import ast
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diffcov.store.images import GUTTER, contact_sheet, save_npz, save_png, save_png_folder, stretch


def test_stretch_covers_0_to_255_by_rounding() -> None:
    assert stretch(torch.arange(256, dtype=torch.uint8), 256).tolist() == list(range(256))
    assert stretch(torch.tensor([0, 1], dtype=torch.uint8), 2).tolist() == [0, 255]
    found = stretch(torch.arange(17, dtype=torch.uint8), 17).tolist()
    assert found == [round(level * 255 / 16) for level in range(17)]


def test_sheet_of_three_is_pixel_exact() -> None:
    """20 x 20 images become 40 x 40 (factor 2); two columns, dark gutters of 2, the empty cell dark."""
    pixels = torch.zeros(3, 1, 20, 20, dtype=torch.uint8)
    pixels[0, 0, 0, 0], pixels[1, 0, 19, 0], pixels[2] = 1, 1, 1
    expected = np.full((2 + 2 * 42, 2 + 2 * 42), GUTTER)
    expected[2:42, 2:42] = expected[2:42, 44:84] = 0
    expected[44:84, 2:42] = 255
    expected[2:4, 2:4] = 255
    expected[40:42, 44:46] = 255
    found = contact_sheet(pixels, levels=2)
    assert found.dtype == torch.uint8
    assert np.array_equal(found.numpy(), expected[None])


@pytest.mark.parametrize(
    ("count", "size", "columns", "shape"),
    [
        (1, (50, 50), None, (54, 54)),
        (4, (50, 50), None, (106, 106)),
        (5, (50, 50), None, (106, 158)),
        (3, (50, 50), 3, (54, 158)),
        (3, (50, 50), 1, (158, 54)),
        (2, (50, 50), 9, (54, 106)),
        (4, (100, 50), None, (104, 2 + 4 * 52)),
        (64, (50, 50), None, (418, 418)),
        (50, (50, 50), None, (262, 522)),
        (66, (50, 50), None, (2 + 6 * 52, 2 + 11 * 52)),
        (67, (50, 50), None, (2 + 8 * 52, 2 + 9 * 52)),
        (7, (8, 8), 7, (44, 2 + 7 * 42)),
    ],
)
def test_sheet_sizes(count: int, size: tuple[int, int], columns: int | None, shape: tuple[int, int]) -> None:
    found = contact_sheet(torch.zeros(count, 3, *size, dtype=torch.uint8), 256, columns)
    assert found.shape == (3, *shape)


def test_rows_fill_left_to_right() -> None:
    pixels = torch.arange(6, dtype=torch.uint8)[:, None, None, None].expand(6, 1, 40, 40)
    found = contact_sheet(pixels, 256, columns=3)[0]
    assert [int(found[10 + 42 * row, 10 + 42 * column]) for row in range(2) for column in range(3)] == list(range(6))


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA"), (2, "L"), (5, "L")])
def test_png_modes(tmp_path: Path, channels: int, mode: str) -> None:
    image = torch.randint(0, 256, (channels, 5, 7), dtype=torch.uint8)
    save_png(tmp_path / "a.png", image)
    with Image.open(tmp_path / "a.png") as found:
        assert (found.mode, found.size) == (mode, (7, 5))
        shown = np.atleast_3d(np.asarray(found))
    assert np.array_equal(shown.transpose(2, 0, 1), image[: shown.shape[2]].numpy())


def test_png_has_its_format_whatever_the_name(tmp_path: Path) -> None:
    save_png(tmp_path / ".grid.png.tmp", torch.zeros(1, 2, 2, dtype=torch.uint8))
    with Image.open(tmp_path / ".grid.png.tmp") as found:
        assert found.format == "PNG"


def test_png_folder_counts_from_first(tmp_path: Path) -> None:
    pixels = torch.randint(0, 17, (3, 3, 4, 6), dtype=torch.uint8)
    save_png_folder(tmp_path / "images", pixels, levels=17, first=98)
    assert sorted(p.name for p in (tmp_path / "images").iterdir()) == ["000098.png", "000099.png", "000100.png"]
    with Image.open(tmp_path / "images" / "000099.png") as found:
        assert np.array_equal(np.asarray(found), stretch(pixels[1], 17).permute(1, 2, 0).numpy())


def test_npz_is_what_evaluators_read(tmp_path: Path) -> None:
    pixels = torch.randint(0, 17, (3, 2, 4, 6), dtype=torch.uint8)
    save_npz(tmp_path / "samples.npz", pixels)
    with np.load(tmp_path / "samples.npz") as found:
        assert found.files == ["arr_0"]
        assert found["arr_0"].dtype == np.uint8
        assert found["arr_0"].shape == (3, 4, 6, 2)
        assert np.array_equal(found["arr_0"].transpose(0, 3, 1, 2), pixels.numpy())


def test_an_npz_can_be_streamed_as_the_adm_evaluator_does(tmp_path: Path) -> None:
    """It opens ``arr_0.npy`` in the zip, reads its header, and takes bytes from there: uint8 NHWC in C order."""
    pixels = torch.randint(0, 256, (5, 3, 4, 6), dtype=torch.uint8)
    save_npz(tmp_path / "samples.npz", pixels, torch.arange(5))
    with zipfile.ZipFile(tmp_path / "samples.npz") as archive, archive.open("arr_0.npy") as member:
        assert member.read(8) == b"\x93NUMPY\x01\x00"  # version 1.0, one of the two that it streams
        (length,) = struct.unpack("<H", member.read(2))
        header = ast.literal_eval(member.read(length).decode("latin1"))
        assert header == {"descr": "|u1", "fortran_order": False, "shape": (5, 4, 6, 3)}
        for image in pixels:
            row = np.frombuffer(member.read(4 * 6 * 3), dtype=np.uint8).reshape(4, 6, 3)
            assert np.array_equal(row, image.permute(1, 2, 0).numpy())
        assert member.read() == b""
