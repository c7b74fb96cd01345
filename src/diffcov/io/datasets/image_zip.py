"""A zip of pictures, as StyleGAN's and EDM's tools write data sets."""

from __future__ import annotations

import zipfile
from pathlib import Path

from diffcov.errors import InputError
from diffcov.io.datasets.pictures import is_picture, read_pictures
from diffcov.io.datasets.reader import Pixels, Reader

__all__ = ["IMAGE_ZIP"]


def _recognises(path: Path) -> bool:
    return path.is_file() and (path.suffix.lower() == ".zip" or zipfile.is_zipfile(path))


def _read(path: Path, limit: int | None) -> Pixels:
    """Its pictures, sorted by path, uint8 (N, C, H, W); other entries (``dataset.json``) are ignored."""
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise InputError(f"{path} is a truncated or damaged zip ({error}): fetch it again") from error
    with archive:
        names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
        return read_pictures([name for name in names if is_picture(name)], archive.read, path, limit)


IMAGE_ZIP = Reader("a zip of images", _recognises, _read)
