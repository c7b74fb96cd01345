"""Sample sheets inside the page: rows are covariances, columns are numbers of steps, seeds are the same everywhere."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diffcov.present.report.grid import Result, absent, box, cell_at, covariances
from diffcov.present.report.markup import Html, join, tag
from diffcov.present.report.numbers import missing
from diffcov.store.images import contact_sheet

__all__ = ["Sheets", "picture", "sample_sheets"]

Sheets = Mapping[tuple[str, str, int], Tensor]
"""(covariance, solver, steps) -> (N, C, H, W) uint8 grey levels."""

WIDEST = 180
"""Pixels of one sheet on the screen, unless one image is wider."""
BUDGET = 1_800_000
"""Pixel values in all sheets together: noise does not compress, and the page should stay below 3 MB."""


def sample_sheets(result: Result, sheets: Sheets, levels: int) -> Html:
    """A table of pictures for each solver. Large images and many cells make fewer images a sheet."""
    if not sheets:
        return tag("p", "No sample sheets were kept.")
    parts = []
    allowance = BUDGET // (len(sheets) + len(result["sampler_cells"]))
    for solver in result["solvers"]:
        rows = []
        for name in covariances(result, solver):
            entries = [_entry(result, sheets, (name, solver, steps), levels, allowance) for steps in result["steps"]]
            rows.append(tag("tr", tag("th", name, scope="row"), *entries))
        head = tag("tr", tag("th", "steps", scope="col"), *(tag("th", str(k), scope="col") for k in result["steps"]))
        parts += [tag("h3", solver.upper()), box(join(tag("thead", head), tag("tbody", *rows)), "sheets")]
    return join(*parts)


def _entry(result: Result, sheets: Sheets, place: tuple[str, str, int], levels: int, allowance: int) -> Html:
    name, solver, steps = place
    if cell_at(result, *place) is None:
        return tag("td", absent(name, solver))
    pixels = sheets.get(place)
    if pixels is None or len(pixels) == 0:
        return tag("td", missing(f"no samples of {name} at {steps} steps were kept"))
    return tag("td", _image(pixels, levels, allowance, f"samples of {name}, {solver.upper()}, {steps} steps"))


def picture(pixels: Tensor, levels: int, sheets: int, alt: str) -> Html:
    """One sheet of so many in a section of the page."""
    return _image(pixels, levels, BUDGET // max(1, sheets), alt)


def _image(pixels: Tensor, levels: int, allowance: int, alt: str) -> Html:
    png, width, height = _png(pixels, levels, allowance)
    source = f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
    return tag("img", src=source, alt=alt, width=width, height=height, loading="lazy")


def _png(pixels: Tensor, levels: int, allowance: int) -> tuple[bytes, int, int]:
    """(PNG, width, height): at most a square of images, on transparent ground."""
    most = max(1, min(len(pixels), allowance // pixels[0].numel()))
    tile = contact_sheet(pixels[:1], levels).shape[2]
    columns = max(1, min(WIDEST // tile, most))
    rows = max(1, min(columns, most // columns))
    chosen = pixels[: rows * columns]
    colour = contact_sheet(chosen, levels, columns)
    opaque = 255 - contact_sheet(torch.zeros_like(chosen[:, :1]), levels, columns)
    grey = colour.shape[0] not in (3, 4)
    layers = torch.cat([colour[:1] if grey else colour[:3], opaque]).permute(1, 2, 0)
    image = Image.fromarray(np.ascontiguousarray(layers.cpu().numpy()))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue(), *image.size
