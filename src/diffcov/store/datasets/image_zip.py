"""A zip of pictures, as StyleGAN's and EDM's tools write data sets."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

from diffcov.errors import InputError
from diffcov.store.datasets.dataset_json import NAME
from diffcov.store.datasets.picture_tree import open_tree, split_names
from diffcov.store.datasets.pictures import is_picture
from diffcov.store.datasets.reader import Reader
from diffcov.store.datasets.stored import Stored

__all__ = ["IMAGE_ZIP"]


def _recognises(path: Path) -> bool:
    return path.is_file() and (path.suffix.lower() == ".zip" or zipfile.is_zipfile(path))


def _archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise InputError(f"{path} is a truncated or damaged zip ({error}): fetch it again") from error


def _names(path: Path) -> list[str]:
    """Its pictures."""
    with _archive(path) as archive:
        names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
    return [name for name in names if is_picture(name)]


def _has_test(path: Path) -> bool:
    return "test" in split_names(_names(path))


def _open(path: Path, split: str) -> Stored:
    # Open as long as its pictures may be wanted: the listing of a large zip takes a while to read.
    return open_tree(_names(path), path, split, _archive(path).read, _listed(path))


def _listed(path: Path) -> bytes | None:
    """Its ``dataset.json``."""
    with _archive(path) as archive:
        try:
            return archive.read(NAME)
        except KeyError:
            return None
        except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
            raise InputError(f"{NAME} in {path} is damaged ({error}): fetch the zip again") from error


IMAGE_ZIP = Reader("a zip of images", _recognises, _has_test, _open)
