"""One picture of many sample sets: a row a method, a panel a number of steps, the same seeds in every row."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from diffcov.store.images import contact_sheet

__all__ = ["comparison_png"]

MARGIN = 12
LABEL_WIDTH = 104
"""At least; a longer name takes what it needs."""
TITLE_HEIGHT = 26
FONT_SIZE = 15
COLUMNS = 16
"""Images side by side in a panel, at most."""


def comparison_png(rows: Mapping[str, Sequence[Tensor]], titles: Sequence[str], levels: int) -> bytes:
    """The picture as a PNG.

    Args:
        rows: method -> one (N, C, H, W) uint8 tensor of grey levels a panel; all alike in shape. More images than
            :data:`COLUMNS` make several rows of a panel, all of them full.
        titles: one a panel.
        levels: number of grey levels.
    """
    font = ImageFont.load_default(FONT_SIZE)
    left = max(LABEL_WIDTH, 2 * MARGIN + math.ceil(max(font.getlength(name) for name in rows)))
    strips = {name: [_strip(pixels, levels) for pixels in panels] for name, panels in rows.items()}
    width, height = next(iter(strips.values()))[0].size
    canvas = Image.new(
        "RGB",
        (
            left + len(titles) * (width + MARGIN) + MARGIN,
            TITLE_HEIGHT + len(strips) * (height + MARGIN // 2) + MARGIN,
        ),
        "white",
    )
    draw = ImageDraw.Draw(canvas)
    for column, title in enumerate(titles):
        draw.text((left + column * (width + MARGIN), 4), title, fill="black", font=font)
    for row, (name, panels) in enumerate(strips.items()):
        top = TITLE_HEIGHT + row * (height + MARGIN // 2)
        draw.text((MARGIN, top + (height - FONT_SIZE) // 2), name, fill="black", font=font)
        for column, strip in enumerate(panels):
            canvas.paste(strip, (left + column * (width + MARGIN), top))
    buffer = io.BytesIO()
    canvas.save(buffer, format="PNG")
    return buffer.getvalue()


def _strip(pixels: Tensor, levels: int) -> Image.Image:
    columns = max(range(1, min(COLUMNS, len(pixels)) + 1), key=lambda wide: (len(pixels) // wide * wide, wide))
    sheet = contact_sheet(pixels[: len(pixels) // columns * columns], levels, columns)
    colour = sheet if sheet.shape[0] == 3 else sheet[:1].expand(3, -1, -1)
    return Image.fromarray(np.ascontiguousarray(colour.permute(1, 2, 0).numpy()))
