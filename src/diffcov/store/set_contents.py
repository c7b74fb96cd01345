"""What lies in a set of samples, each file named; nothing is decoded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from diffcov.errors import InputError
from diffcov.store.sample_set import MANIFEST, SHEET, load_manifest
from diffcov.store.zips import BadZipFile, damage_is_bad_zip, open_zip

__all__ = ["set_contents", "set_lacks"]

MEANT = {"arr_0": "images", "arr_1": "classes"}
"""What the arrays of an npz are, in the layout of the field's evaluators."""


def set_contents(folder: Path) -> list[str]:
    """A sentence for each file of a set, and one for each folder.

    Raises:
        InputError: an npz or a list of classes that cannot be read.
    """
    return [_said(one) for one in sorted(folder.iterdir())]


def set_lacks(folder: Path) -> list[str]:
    """The files that the manifest names and the folder does not hold. InputError for a manifest that is no JSON."""
    listed = load_manifest(folder).get("files")
    return [name for name in listed if not (folder / name).is_file()] if isinstance(listed, dict) else []


def _said(path: Path) -> str:
    if path.is_dir():
        pictures, labels = len(list(path.glob("*.png"))), path / "dataset.json"
        beside = f", and the classes of {_labelled(labels)} in dataset.json" if labels.is_file() else ""
        return f"{path.name}/: {pictures} PNG{beside}"
    if path.suffix == ".npz":
        return f"{path.name}: {'; '.join(_arrays(path))}"
    meant = {SHEET: "a sheet to look at", MANIFEST: "how to draw them again"}.get(path.name, "not written by diffcov")
    return f"{path.name}: {meant}"


def _arrays(path: Path) -> list[str]:
    try:
        found = []
        with damage_is_bad_zip(), open_zip(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as member:
                    np.lib.format.read_magic(member)
                    shape, _, dtype = np.lib.format.read_array_header_1_0(member)
                plain = name.removesuffix(".npy")
                found.append(f"{plain} {dtype} {shape}" + (f", the {MEANT[plain]}" if plain in MEANT else ""))
    except (BadZipFile, OSError) as error:
        raise InputError(f"{path} cannot be read as npz ({error}); draw the samples again with --force") from error
    return found


def _labelled(path: Path) -> int:
    try:
        return len(json.loads(path.read_text(encoding="utf-8"))["labels"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(f"{path} cannot be read ({error}); draw the samples again with --force") from error
