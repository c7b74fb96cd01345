"""Digests of a set of samples: each file's and its own in the manifest, and what a sheet says of itself.

A sheet is passed on without its folder; so it carries, as text in the PNG, what decided its images and the digest of
its pixels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diffcov.digest import digest_of_tensors, digest_of_values
from diffcov.errors import InputError
from diffcov.store.artifact import understanding
from diffcov.version import __version__

__all__ = ["SHEET_KEY", "file_digest", "manifest_digest", "pixel_digest", "read_sheet", "sealed", "sheet_text"]

SHEET_KEY = "diffcov"
"""Keyword of the text in a sheet's PNG."""
SHEET_SAYS = ("sampler", "sampler_digest", "eps_scale_value", "first", "count")
"""What of a manifest a sheet repeats: all that decides its images, and nothing of the machine that drew them."""
MOST_PIXELS = 200_000_000
"""Of a sheet that is read back; a sheet of samples has at most 100 images."""


def file_digest(path: Path) -> str:
    """sha256 (hex) of the bytes of a file, as ``sha256sum`` prints it. InputError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def sealed(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest with ``files``, the sha256 of every file that the folder holds, and ``digest``, its own."""
    files = {
        path.relative_to(folder).as_posix(): file_digest(path) for path in sorted(folder.rglob("*")) if path.is_file()
    }
    plain = json.loads(json.dumps({**manifest, "files": files}))
    return {**plain, "digest": manifest_digest(plain)}


def manifest_digest(manifest: Mapping[str, Any]) -> str:
    """sha256 (hex) of all that a manifest says, but for its own ``digest``."""
    return digest_of_values({key: value for key, value in manifest.items() if key != "digest"})


def sheet_text(manifest: Mapping[str, Any], sheet: Tensor) -> dict[str, str]:
    """The text that goes into a sheet's PNG: what decided its images, and the digest of its pixels (C, H, W)."""
    said = {key: manifest[key] for key in SHEET_SAYS if key in manifest}
    return {SHEET_KEY: json.dumps({"diffcov_version": __version__, **said, "pixels": pixel_digest(sheet)})}


def pixel_digest(sheet: Tensor) -> str:
    """sha256 (hex) of the pixels (C, H, W), uint8, of a sheet; of any but 1, 3 or 4 channels the first is shown."""
    shown = sheet if sheet.shape[0] in (3, 4) else sheet[:1]
    return digest_of_tensors({"sheet": shown})


def read_sheet(path: Path) -> tuple[dict[str, Any] | None, str]:
    """What a PNG says of its samples, None if it says nothing, and the digest of the pixels that it has now.

    Raises:
        InputError: no such file, no PNG that can be read, or text that was changed.
    """
    try:
        with Image.open(path, formats=["PNG"]) as image:
            if image.width * image.height > MOST_PIXELS:
                raise InputError(f"{path} claims {image.width}x{image.height} pixels, more than any sheet has")
            text = getattr(image, "text", {}).get(SHEET_KEY)
            array = np.array(image.convert("RGB") if image.mode == "P" else image)  # the same colours by a palette
    except FileNotFoundError as error:
        raise InputError(f"no such file: {path}") from error
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read as PNG ({error}); draw the samples again") from error
    pixels = torch.from_numpy(array[None] if array.ndim == 2 else array.transpose(2, 0, 1).copy())
    if text is None:
        return None, pixel_digest(pixels)
    with understanding(path):
        said = json.loads(text)
        if not isinstance(said["pixels"], str):
            raise ValueError("its digest of pixels is no text")
    return said, pixel_digest(pixels)
