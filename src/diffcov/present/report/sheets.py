"""Sample sheets inside the page: rows are covariances, columns are numbers of steps, seeds are the same everywhere."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from PIL import Image
from torch import Tensor

from diffcov.present.report.grid import Result, absent, box, cell_at, covariances
from diffcov.present.report.markup import Html, join, tag
from diffcov.present.report.numbers import missing
from diffcov.store.images import contact_sheet

__all__ = ["Sheets", "sample_sheets", "sheets_table"]

Sheets = Mapping[tuple[str, str, int], Tensor]
"""(covariance, solver, steps) -> (N, C, H, W) uint8 grey levels."""

PAGE = 920
"""Pixels of the screen that all sheets of a row share: the page without the names."""
NARROWEST, WIDEST = 150, 460
"""Pixels of one sheet on the screen."""
SMALLEST = 28
"""Pixels of one picture's side on the screen, at least."""
LARGEST = 72
"""The same, at most, of what is enlarged."""
BUDGET = 3_000_000
"""Pixel values in all sheets together: noise does not compress, and the page should stay below 5 MB."""


def sample_sheets(result: Result, sheets: Sheets, levels: int, real: Tensor | None = None) -> Html:
    """A table of pictures for each solver. Large images and many cells make fewer images a sheet.

    Args:
        result: what ``compare.json`` holds.
        sheets: by covariance, solver and steps.
        levels: number of grey levels.
        real: (N, C, H, W) uint8 grey levels of real images, a row above the others; None for no such row.
    """
    if not sheets:
        return tag("p", "No sample sheets were kept.")
    parts = []
    for solver in result["solvers"]:
        rows = {name: [sheets.get((name, solver, K)) for K in result["steps"]] for name in covariances(result, solver)}

        def why(name: str, K: int, solver: str = solver) -> Html:
            if cell_at(result, name, solver, K) is None:
                return absent(name, solver)
            return missing(f"no samples of {name} at {K} steps were kept")

        alt = f"samples of {{name}}, {solver.upper()}, {{K}} steps"
        parts += [tag("h3", solver.upper()), sheets_table(result, rows, alt, why, levels, real)]
    return join(*parts)


def sheets_table(
    result: Result,
    rows: Mapping[str, Sequence[Tensor | None]],
    alt: str,
    why: Callable[[str, int], Html],
    levels: int,
    real: Tensor | None,
) -> Html:
    """Sheets that share the width of the page, below a row of real images.

    Args:
        result: what ``compare.json`` holds.
        rows: a sheet a number of steps, by name; None for one that is not there.
        alt: what a picture shows, in words, with ``{name}`` and ``{K}``.
        why: what stands in the place of a sheet that is not there.
        levels: number of grey levels.
        real: as for :func:`sample_sheets`.
    """
    steps = result["steps"]
    allowance = BUDGET // max(1, len(result["cells"]) + len(result["sampler_cells"]))
    width = min(WIDEST, max(NARROWEST, PAGE // len(steps)))
    body = []
    if real is not None and len(real):
        shown = [tag("td", _image(real, levels, allowance, width, f"real images, beside {K} steps")) for K in steps]
        body.append(tag("tr", tag("th", "real images", scope="row"), *shown))
    for name, row in rows.items():
        shown = [
            tag("td", why(name, K))
            if pixels is None or not len(pixels)
            else tag("td", _image(pixels, levels, allowance, width, alt.format(name=name, K=K)))
            for K, pixels in zip(steps, row, strict=True)
        ]
        body.append(tag("tr", tag("th", name, scope="row"), *shown))
    head = tag("tr", tag("th", "steps", scope="col"), *(tag("th", str(K), scope="col") for K in steps))
    return box(join(tag("thead", head), tag("tbody", *body)), "sheets")


def _image(pixels: Tensor, levels: int, allowance: int, width: int, alt: str) -> Html:
    """A PNG of one pixel a pixel, which the page enlarges by a whole factor."""
    rows, columns, scale = _layout(len(pixels), tuple(pixels.shape[1:]), allowance, width)
    sheet = contact_sheet(pixels[: rows * columns], levels, columns, scale=1, gap=1)
    layers = (sheet if sheet.shape[0] == 3 else sheet[:1].expand(3, -1, -1)).permute(1, 2, 0)
    picture = Image.fromarray(np.ascontiguousarray(layers.cpu().numpy()))
    if sheet.shape[0] != 3:
        picture = picture.convert("L")
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    source = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
    sides = {"width": scale * picture.width, "height": scale * picture.height}
    return tag("img", src=source, alt=alt, loading="lazy", **sides)


def _layout(count: int, shape: tuple[int, ...], allowance: int, width: int) -> tuple[int, int, int]:
    """Rows, columns and the factor of enlargement: as many images as fit, in whole rows of nearly a square."""
    most, side = max(1, min(count, allowance // math.prod(shape))), shape[2]
    room = max(1, (width - 1) // (max(SMALLEST, side) + 1))
    rows, columns = 1, 1
    for wide in range(1, min(room, most) + 1):
        high = min(wide, most // wide)
        if 2 * high >= wide and high * wide > rows * columns:
            rows, columns = high, wide
    return rows, columns, max(1, min((width - 1) // (columns * (side + 1) + 1), LARGEST // side))
