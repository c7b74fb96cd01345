"""A set of samples on disk: a sheet to look at, the images if wanted, and a manifest to repeat them."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffcov.errors import InputError, OutputError
from diffcov.processes.base import current
from diffcov.store.atomic import atomic_folder, holds_something_else, refuse_unwritable, written
from diffcov.store.behind import Behind
from diffcov.store.images import contact_sheet, save_labels, save_npz, save_png, save_png_folder
from diffcov.store.seal import sealed, sheet_text

__all__ = [
    "MANIFEST",
    "SHEET",
    "SHEET_LIMIT",
    "is_sample_set",
    "load_manifest",
    "refuse_existing_set",
    "write_sample_set",
    "write_set_alone",
    "write_sheet",
]

MANIFEST, SHEET = "manifest.json", "grid.png"
SHEET_LIMIT = 100
"""At most this many images on the sheet."""


def refuse_existing_set(path: Path, force: bool) -> None:
    """Raise OutputError if something is at ``path``; with ``force``, only if it is not a set of samples.

    So it does where nothing can be written.
    """
    refuse_unwritable(path)
    if not path.exists():
        return
    if holds_something_else(path, is_sample_set(path)):
        raise OutputError(f"{path} exists and is not a set of samples (no manifest.json); choose another --out")
    if not force:
        raise OutputError(f"{path} already exists; use --force to replace it, or another --out")


def load_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a set of samples.

    Raises:
        InputError: it cannot be read, is not JSON, or no manifest.
    """
    path = folder / MANIFEST
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error}); make the samples again") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} is no manifest of samples (it holds a {type(found).__name__}); make them again")
    return found


def is_sample_set(folder: Path) -> bool:
    """Whether a folder holds a set of samples."""
    return (folder / MANIFEST).is_file()


def write_sheet(path: Path, pixels: Tensor, levels: int, rows: int | None = None) -> None:
    """Write (N, C, H, W) uint8 grey levels as one sheet. OutputError if the file system refuses.

    Args:
        path: the PNG.
        pixels, levels: the images.
        rows: as for :func:`write_sample_set`.
    """
    shown, columns = _in_rows(pixels, 0, rows)
    written(path, lambda temporary: save_png(temporary, contact_sheet(shown, levels, columns)))


def write_sample_set(
    path: Path,
    batches: Iterable[Tensor],
    levels: int,
    formats: Collection[str],
    first: int,
    manifest: Mapping[str, Any],
    rows: int | None = None,
    labels_of: Callable[[Sequence[int]], Tensor | None] = lambda numbers: None,
    *,
    replace: bool = True,
) -> int:
    """Write ``path``/grid.png, the images in the other formats, and manifest.json; all or nothing.

    All processes make the images together, the first one writes them.

    Args:
        path: the folder.
        batches: (B, C, H, W) uint8 grey levels each.
        levels: number of grey levels.
        formats: "folder" adds images/000000.png and on, "npz" adds samples.npz; the grid is always written.
        first: number of the first image.
        manifest: what to record; the count of images, the digests of all files and its own are added.
        labels_of: numbers of images -> their classes, (n,) int64, or None if they have none. They stand in the npz
            and, beside images, in dataset.json.
        rows: of the sheet, image i standing in row i modulo their number; None makes it as square as it can be.
        replace: whether a set that is there, or that somebody else has finished meanwhile, may be replaced.

    Returns:
        Number of images.

    Raises:
        OutputError: somebody else is writing the folder, it is there, or the file system refuses.
    """
    ours = current()
    ours.wait()
    if ours.first:
        count = write_set_alone(path, batches, levels, formats, first, manifest, rows, labels_of, replace=replace)
    else:
        count = sum(len(batch) for batch in batches)
    ours.wait()
    return count


def write_set_alone(
    path: Path,
    batches: Iterable[Tensor],
    levels: int,
    formats: Collection[str],
    first: int,
    manifest: Mapping[str, Any],
    rows: int | None = None,
    labels_of: Callable[[Sequence[int]], Tensor | None] = lambda numbers: None,
    *,
    replace: bool = True,
) -> int:
    """The same by this process, whose images need no other; see :func:`write_sample_set`."""
    with atomic_folder(path, "diffcov sample", replace=replace) as folder:
        sheet: list[Tensor] = []
        kept: list[Tensor] = []
        count = 0
        with Behind() as behind:
            for batch in batches:
                if count < SHEET_LIMIT:
                    sheet.append(batch[: SHEET_LIMIT - count])
                if "folder" in formats:
                    behind.do(partial(save_png_folder, folder / "images", batch, levels, first + count))
                if "npz" in formats:
                    kept.append(batch)
                count += len(batch)
        shown, columns = _in_rows(torch.cat(sheet), first, rows)
        told = {**manifest, "count": count}
        drawn = contact_sheet(shown, levels, columns)
        save_png(folder / SHEET, drawn, sheet_text(told, drawn))
        labels = labels_of(range(first, first + count))
        if kept:
            save_npz(folder / "samples.npz", torch.cat(kept), labels)
        if "folder" in formats and labels is not None:
            save_labels(folder / "images", labels, first)
        text = json.dumps(sealed(folder, told), indent=2)
        (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return count


def _in_rows(pixels: Tensor, first: int, rows: int | None) -> tuple[Tensor, int | None]:
    """Images in the order of a sheet with so many rows, and its columns; short rows end in black.

    As they come where a row would be empty.
    """
    if rows is None or len(pixels) < rows:
        return pixels, None
    columns = -(-len(pixels) // rows)
    row_of = (torch.arange(len(pixels)) + first) % rows
    sheet = pixels.new_zeros(rows, columns, *pixels.shape[1:])
    for row in range(rows):
        own = pixels[row_of == row]
        sheet[row, : len(own)] = own
    return sheet.flatten(0, 1), columns
