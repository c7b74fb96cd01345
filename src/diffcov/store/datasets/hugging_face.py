"""Folders of Hugging Face's `datasets`: parquet shards as on the hub, arrow files as of ``save_to_disk``, or one file.

A row holds a picture as ``{bytes, path}``, and perhaps a class. Which rows are held out is said by the names of files
and folders.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diffcov.errors import InputError
from diffcov.store.datasets.layout import SPLITS, WORDS, Layout, called_held_out
from diffcov.store.datasets.picture_set import PictureSet
from diffcov.store.datasets.pictures import is_picture
from diffcov.store.datasets.reader import Reader
from diffcov.store.datasets.shards import SUFFIXES, Shard, open_shard
from diffcov.store.datasets.stored import Labels, Stored

__all__ = ["HUGGING_FACE"]

IMAGES, LABELS = ("image", "img", "images"), ("label", "labels", "fine_label")
"""Usual names of the columns, the first that is there counts."""
NO_CLASS = -1
"""What `datasets` has in the place of a class that is not published."""


def _files(path: Path) -> list[Path]:
    """The shards at and below a path, sorted; those that ``save_to_disk`` lists, where it lists some."""
    if path.is_file():
        return [path]
    found: list[Path] = []
    for folder, subfolders, names in os.walk(path):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        here = [name for name in names if name.endswith(SUFFIXES) and not name.startswith((".", "cache-"))]
        if "state.json" in names:
            here = _listed(Path(folder) / "state.json") or here
        found += [Path(folder) / name for name in here]
    return sorted(found)


def _listed(state: Path) -> list[str]:
    """The files of a ``state.json``. InputError if rows were chosen from them, which stands in files of its own."""
    try:
        told = json.loads(state.read_text(encoding="utf-8"))
        names = [str(file["filename"]) for file in told["_data_files"]]
    except (KeyError, TypeError, ValueError):
        return []
    if any(told.get(key) for key in ("_indices_files", "_indices_data_files")):
        raise InputError(f"{state} says that rows were chosen and not copied; save the set after flatten_indices()")
    return [name for name in names if Path(name).name == name]


def _split(path: Path, root: Path) -> str:
    """The split of a file by a word in its own name, else in the nearest folder's; what says nothing is to train on."""
    parts = path.relative_to(root).parts if path != root else (path.name,)
    for part in reversed(parts):
        for word in re.split(r"[^a-z]+", part.lower()):
            for split, words in WORDS.items():
                if word in words:
                    return split
    return "train"


def _splits(path: Path) -> dict[str, list[Path]]:
    """Split -> files; all of them are to train on where none are said to be."""
    found: dict[str, list[Path]] = {}
    for file in _files(path):
        found.setdefault(_split(file, path), []).append(file)
    if "train" not in found:
        return {"train": [file for split in ("test", "val") for file in found.get(split, [])]}
    return {split: found[split] for split in SPLITS if split in found}


def _recognises(path: Path) -> bool:
    if path.is_file():
        return path.suffix in SUFFIXES
    holds = False
    for _, subfolders, names in os.walk(path):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        if any(is_picture(name) for name in names):
            return False  # tables beside pictures say something of those
        holds = holds or any(name.endswith(SUFFIXES) for name in names)
    return holds


def _told_apart(path: Path) -> Collection[str]:
    return _splits(path)


def _open(path: Path, split: str) -> Stored:
    files = _splits(path)
    splits = {name: [open_shard(file) for file in own] for name, own in files.items()}
    if not splits[split]:
        raise InputError(f"there is no image in {path} or below it: looked for {', '.join(SUFFIXES)} files")
    _check_one_set(splits["train"], path)
    mine = splits[split]
    column = _image_column(mine[0])
    for shard in mine:
        if column not in shard.columns:
            raise InputError(
                f"{shard.path} has no column {column} as {mine[0].path.name} has: {path} holds more than one data set, "
                "give the folder of one"
            )
    label = _label_column(mine[0])
    labels = None if label is None else _labels(mine, label, path)
    count = sum(shard.rows for shard in mine)
    classes = None
    if labels is not None and label is not None:
        told = _class_names(mine[0], label)
        classes = None if told is None else len(told)
        if classes is None:
            every = [_labels(shards, label, path) for shards in splits.values()]
            classes = max(int(each.max()) + 1 for each in every if each is not None)
    layout = Layout(
        {name: sum(shard.rows for shard in shards) for name, shards in splits.items()},
        None if labels is None else f"the column {label}",
        None if labels is None or label is None else _class_names(mine[0], label),
        warnings=called_held_out(_split(file, path) for file in files["train"]),
    )
    pictures = PictureSet(count, "row {}".format, _contents(mine, column, path), path)
    return pictures.stored(labels, classes, layout, scattered=False)


def _check_one_set(shards: Sequence[Shard], path: Path) -> None:
    """Refuse (InputError) a folder of several configurations, each of which is a data set."""
    if not path.is_dir():
        return
    known = {word for words in WORDS.values() for word in words} | {"data"}
    folders = [shard.path.relative_to(path).parent.parts for shard in shards]
    configurations = sorted({"/".join(part for part in parts if part.lower() not in known) for parts in folders})
    if len(configurations) > 1:
        named = ", ".join(name or "." for name in configurations)
        raise InputError(f"{path} holds several data sets ({named}); give the folder of one of them")


def _image_column(shard: Shard) -> str:
    """The column of pictures."""
    told = [name for name, feature in shard.features.items() if _kind(feature) == "Image" and name in shard.columns]
    found = told or [name for name, kind in shard.columns.items() if "bytes: binary" in str(kind)]
    usual = [name for name in IMAGES if name in found]
    if not usual and len(found) != 1:
        columns = ", ".join(f"{name} ({kind})" for name, kind in shard.columns.items())
        raise InputError(
            f"{shard.path} holds {'several columns' if found else 'no column'} of pictures (found: {columns}); a data "
            "set here has one, {bytes, path}, called image"
        )
    return (usual or found)[0]


def _label_column(shard: Shard) -> str | None:
    """The column of classes: one of a usual name that holds whole numbers, else the only one that is said to be it."""
    usual = [name for name in LABELS if str(shard.columns.get(name, "")).startswith(("int", "uint"))]
    told = [name for name, feature in shard.features.items() if _kind(feature) == "ClassLabel"]
    return usual[0] if usual else told[0] if len(told) == 1 and told[0] in shard.columns else None


def _kind(feature: Any) -> Any:
    return feature.get("_type") if isinstance(feature, dict) else None


def _class_names(shard: Shard, label: str) -> tuple[str, ...] | None:
    """The names that classes have."""
    feature = shard.features.get(label)
    names = feature.get("names") if isinstance(feature, dict) else None
    return tuple(map(str, names)) if isinstance(names, list) and names else None


def _labels(shards: Sequence[Shard], column: str, path: Path) -> Labels | None:
    """The class of each row; None where none is published.

    Raises:
        InputError: some rows have a class and some have none.
    """
    if any(column not in shard.columns for shard in shards):
        return None
    parts = [
        np.asarray(shard.read(block, column).fill_null(NO_CLASS), dtype=np.int64)
        for shard in shards
        for block in range(len(shard.blocks))
    ]
    labels = np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
    missing = int((labels < 0).sum())
    if 0 < missing < len(labels):
        raise InputError(
            f"{missing} of {len(labels)} pictures in {path} have no class in the column {column}, and the others have "
            "one; give all of them one, or leave the column out"
        )
    return None if missing or not len(labels) else labels


def _contents(shards: Sequence[Shard], column: str, path: Path) -> Callable[[str], bytes]:
    """What reads the file of a row."""
    starts, places, start = list[int](), list[tuple[Shard, int]](), 0
    for shard in shards:
        for block, rows in enumerate(shard.blocks):
            starts.append(start)
            places.append((shard, block))
            start += rows
    held: dict[int, Any] = {}

    def content(name: str) -> bytes:
        position = int(name.removeprefix("row "))
        at = int(np.searchsorted(starts, position, side="right")) - 1
        if at not in held:
            held.clear()
            shard, block = places[at]
            held[at] = shard.read(block, column)
        return _bytes(held[at][position - starts[at]].as_py(), name, path)

    return content


def _bytes(cell: Any, name: str, path: Path) -> bytes:
    """The file of a picture."""
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(content, bytes):
        where = cell.get("path") if isinstance(cell, dict) else None
        found = f"names the file {where} and does not hold it" if where else "is empty"
        raise InputError(f"{name} of {path} {found}; write the set again with its pictures inside (push_to_hub does)")
    return content


HUGGING_FACE = Reader("a folder of Hugging Face's datasets (parquet, arrow)", _recognises, _told_apart, _open)
