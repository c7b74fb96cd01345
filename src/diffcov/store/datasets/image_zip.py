"""A zip of pictures, as StyleGAN's and EDM's tools write data sets, and as Windows and macOS pack folders."""

from __future__ import annotations

import zipfile
from collections.abc import Collection
from pathlib import Path

from diffcov.errors import InputError
from diffcov.store.datasets.picture_tree import open_tree, split_names
from diffcov.store.datasets.pictures import is_picture
from diffcov.store.datasets.reader import Reader
from diffcov.store.datasets.stored import Stored
from diffcov.store.zips import BadZipFile, open_zip, read_member

__all__ = ["IMAGE_ZIP"]


def _recognises(path: Path) -> bool:
    return path.is_file() and (path.suffix.lower() == ".zip" or zipfile.is_zipfile(path))


def _archive(path: Path) -> zipfile.ZipFile:
    try:
        return open_zip(path)
    except BadZipFile as error:
        raise InputError(f"{path} is a truncated or damaged zip ({error}): fetch it again") from error


def _files(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Its files by name; of several with one name the last counts. Backslashes part folders, as some tools write."""
    return {
        entry.filename.replace("\\", "/"): entry
        for entry in archive.infolist()
        if entry.filename and not entry.is_dir()
    }


def _splits(path: Path) -> Collection[str]:
    with _archive(path) as archive:
        return split_names([name for name in _files(archive) if is_picture(name)], path)


def _open(path: Path, split: str) -> Stored:
    # Open as long as its pictures may be wanted: the listing of a large zip takes a while to read.
    archive = _archive(path)
    files = _files(archive)

    def listed(name: str) -> bytes | None:
        try:
            return read_member(archive, files[name]) if name in files else None
        except BadZipFile as error:
            raise InputError(f"{name} in {path} is damaged ({error}): fetch the zip again") from error

    pictures = [name for name in files if is_picture(name)]
    return open_tree(pictures, path, split, lambda name: read_member(archive, files[name]), listed)


IMAGE_ZIP = Reader("a zip of images", _recognises, _splits, _open)
