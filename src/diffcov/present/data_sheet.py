"""A set of images at a glance: a row a class, or a square of some of them."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from diffcov.errors import UsageError
from diffcov.store.atomic import refuse_existing, write_bytes
from diffcov.store.datasets import ImageDataset
from diffcov.store.datasets.subset import kept_indices
from diffcov.store.images import contact_sheet
from diffcov.store.paths import shown

__all__ = ["check_sheet", "data_sheet", "write_data_sheet"]

COLUMNS = 10
"""Images of each class."""
ROWS = 50
"""Classes at most."""
SQUARE = 100
"""Images where there are no classes."""
MARGIN, FONT_SIZE, LONGEST = 8, 15, 24
"""Pixels, pixels, and signs of a class's name."""


def check_sheet(path: Path, force: bool) -> None:
    """Refuse, before any work, what cannot be written.

    Raises:
        UsageError: a name that does not end in .png.
        OutputError: something is there, without ``force``.
    """
    if path.suffix.lower() != ".png":
        raise UsageError(f"--sheet writes a PNG and {path} is not called one; give a name that ends in .png")
    refuse_existing(path, force, "use --force to replace it, or another --sheet")


def write_data_sheet(path: Path, images: ImageDataset) -> None:
    """Draw :func:`data_sheet` into a file. OutputError if the file system refuses."""
    write_bytes(path, data_sheet(images))


def data_sheet(images: ImageDataset) -> bytes:
    """The picture as a PNG: the same images of the set every time, chosen all over it.

    At most 50 classes are shown, those with the smallest numbers; a class without images has no row.
    """
    strips = _rows(images) if images.labels is not None else {"": _strip(images, _some(images.count, SQUARE), None)}
    font = ImageFont.load_default(FONT_SIZE)
    left = MARGIN + (math.ceil(max(font.getlength(name) for name in strips)) + MARGIN if images.classes else 0)
    width, height = (max(sides) for sides in zip(*(strip.size for strip in strips.values()), strict=True))
    canvas = Image.new("RGB", (left + width + MARGIN, len(strips) * height + 2 * MARGIN), "white")
    draw = ImageDraw.Draw(canvas)
    for row, (name, strip) in enumerate(strips.items()):
        top = MARGIN + row * height
        draw.text((MARGIN, top + (height - FONT_SIZE) // 2), name, fill="black", font=font)
        canvas.paste(strip, (left, top), strip if strip.mode == "RGBA" else None)
    buffer = io.BytesIO()
    canvas.save(buffer, format="PNG")
    return buffer.getvalue()


def _rows(images: ImageDataset) -> dict[str, Image.Image]:
    """Class, as it is called -> some of its images side by side."""
    assert images.labels is not None
    rows: dict[str, Image.Image] = {}
    for number in sorted(set(images.labels.tolist()))[:ROWS]:
        own = (images.labels == number).nonzero().flatten()
        name = str(number) if images.layout.class_names is None else shown(images.layout.class_names[number])
        short = name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
        rows[short if short not in rows else f"{short} ({number})"] = _strip(
            images, own[_some(len(own), COLUMNS)], COLUMNS
        )
    return rows


def _some(count: int, most: int) -> Tensor:
    """Positions of some of so many images, always the same."""
    return torch.from_numpy(kept_indices(count, most))


def _strip(images: ImageDataset, chosen: Tensor, columns: int | None) -> Image.Image:
    sheet = contact_sheet(images.images[chosen], images.description.levels, columns)
    colour = sheet.expand(3, -1, -1) if sheet.shape[0] == 1 else sheet
    return Image.fromarray(np.ascontiguousarray(colour.permute(1, 2, 0).numpy()))
