"""A set of samples on disk: a sheet to look at, the images if wanted, and a manifest to repeat them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffcov.errors import OutputError
from diffcov.store.atomic import atomic_folder
from diffcov.store.images import contact_sheet, save_npz, save_png, save_png_folder

__all__ = ["FORMATS", "SHEET_LIMIT", "refuse_existing_set", "write_sample_set"]

FORMATS = ("grid", "folder", "npz")
"""grid.png alone; with images/000000.png and on; with samples.npz."""

SHEET_LIMIT = 100
"""At most this many images on the sheet."""


def refuse_existing_set(path: Path, force: bool) -> None:
    """Raise OutputError if something is at ``path``; with ``force``, only if it is not a set of samples."""
    if not path.exists():
        return
    if not path.is_dir() or (any(path.iterdir()) and not (path / "manifest.json").is_file()):
        raise OutputError(f"{path} exists and is not a set of samples (no manifest.json); choose another --out")
    if not force:
        raise OutputError(f"{path} already exists; use --force to replace it, or another --out")


def write_sample_set(
    path: Path,
    batches: Iterable[Tensor],
    levels: int,
    formats: Collection[str],
    first: int,
    manifest: Mapping[str, Any],
) -> int:
    """Write ``path``/grid.png, the images in the other formats, and manifest.json; all or nothing.

    Args:
        path: the folder; replaced if it exists.
        batches: (B, C, H, W) uint8 grey levels each.
        levels: number of grey levels.
        formats: of :data:`FORMATS`; the grid is always written.
        first: number of the first image.
        manifest: what to record; the count of images is added.

    Returns:
        Number of images.

    Raises:
        OutputError: the file system refuses.
    """
    with atomic_folder(path) as folder:
        sheet: list[Tensor] = []
        kept: list[Tensor] = []
        count = 0
        for batch in batches:
            if count < SHEET_LIMIT:
                sheet.append(batch[: SHEET_LIMIT - count])
            if "folder" in formats:
                save_png_folder(folder / "images", batch, levels, first + count)
            if "npz" in formats:
                kept.append(batch)
            count += len(batch)
        save_png(folder / "grid.png", contact_sheet(torch.cat(sheet), levels))
        if kept:
            save_npz(folder / "samples.npz", torch.cat(kept))
        text = json.dumps({**manifest, "count": count}, indent=2)
        (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")
    return count
