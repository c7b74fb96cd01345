"""Images out: one PNG grid, a folder of PNGs, or an npz, always from the same grey levels.

PNGs stretch the grey levels to 0..255 for the eye; the npz keeps the levels of the data, so that samples and data
compare directly (for 8-bit images the two are the same).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

__all__ = ["contact_sheet", "save_labels", "save_npz", "save_png", "save_png_folder", "stretch"]

SMALLEST_TILE = 40
"""Pixels; smaller images are enlarged by a whole factor so that a person can read a sheet of them."""

FAR = 1.6
"""A sheet may have so many times the columns (or rows) of the squarest one for its last row to be full."""

GAP = 2
GUTTER = 48
"""The grey between pictures: dark, so that it does not outshine them, and not black, as the ground of many is."""


def stretch(pixels: Tensor, levels: int) -> Tensor:
    """Grey levels 0..levels-1 to 0..255, rounded; uint8 of any shape -> uint8."""
    return (pixels.float() * (255 / (levels - 1))).round().to(torch.uint8)


def contact_sheet(
    pixels: Tensor, levels: int, columns: int | None = None, scale: int | None = None, gap: int = GAP
) -> Tensor:
    """Images side by side with dark gutters.

    Args:
        pixels: (N, C, H, W) uint8 grey levels, N >= 1.
        levels: number of grey levels.
        columns: images a row; by default the squarest sheet that ends in a full row, where one is nearly square.
        scale: whole factor by which images are enlarged; default the least that makes a side 40 pixels or more.
        gap: pixels between images and around them.

    Returns:
        (C, rows, width) uint8 in 0..255.
    """
    tiles = stretch(pixels, levels)
    count, channels, height, width = tiles.shape
    columns = columns or _columns(count, math.sqrt(count * height / width))
    columns = max(1, min(columns, count))
    scale = scale or max(1, -(-SMALLEST_TILE // max(height, width)))
    tiles = tiles.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    cell_height, cell_width = height * scale + gap, width * scale + gap
    rows = -(-count // columns)
    sheet = torch.full((channels, rows * cell_height + gap, columns * cell_width + gap), GUTTER, dtype=torch.uint8)
    for i, tile in enumerate(tiles):
        top, left = (i // columns) * cell_height + gap, (i % columns) * cell_width + gap
        sheet[:, top : top + height * scale, left : left + width * scale] = tile
    return sheet


def _columns(count: int, squarest: float) -> int:
    """Images a row: a divisor of their number where one is near enough to the squarest sheet, wide before high."""
    divisors = [n for n in range(count, 0, -1) if count % n == 0]
    nearest = min(divisors, key=lambda n: round(abs(math.log(n / squarest)), 9))
    near = abs(math.log(nearest / squarest)) <= math.log(FAR)
    return nearest if near else math.ceil(squarest)


def save_png(path: Path, image: Tensor, text: Mapping[str, str] | None = None) -> None:
    """(C, H, W) uint8 in 0..255 to one PNG; C = 1, 3 or 4 as it is, any other number as its first channel.

    ``text`` stands in the file beside the pixels, by its keyword.
    """
    inside = PngInfo()
    for keyword, value in (text or {}).items():
        inside.add_itxt(keyword, value)
    channels = image.shape[0]
    array = np.ascontiguousarray((image if channels in (3, 4) else image[:1]).permute(1, 2, 0).cpu().numpy())
    Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array).save(path, format="PNG", pnginfo=inside)


def save_png_folder(folder: Path, pixels: Tensor, levels: int, first: int) -> None:
    """(N, C, H, W) uint8 grey levels to ``folder/000000.png`` and on, numbered from ``first``."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(stretch(pixels, levels), start=first):
        save_png(folder / f"{i:06d}.png", image)


def save_labels(folder: Path, labels: Tensor, first: int) -> None:
    """The class of each image of :func:`save_png_folder` to ``folder/dataset.json``, as StyleGAN has it."""
    pairs = [[f"{i:06d}.png", label] for i, label in enumerate(labels.tolist(), start=first)]
    (folder / "dataset.json").write_text(json.dumps({"labels": pairs}) + "\n", encoding="utf-8")


def save_npz(path: Path, pixels: Tensor, labels: Tensor | None = None) -> None:
    """(N, C, H, W) uint8 grey levels to an npz, in the layout that the field's evaluators read.

    ``arr_0`` is (N, H, W, C); ``arr_1`` holds the classes, (N,) int64, where there are any.
    """
    arrays = [np.ascontiguousarray(pixels.permute(0, 2, 3, 1).cpu().numpy())]
    np.savez_compressed(path, *arrays, *([] if labels is None else [labels.cpu().numpy()]))
