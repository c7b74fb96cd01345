"""What the folders in a tree of pictures mean: a split, then a class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from diffcov.errors import InputError
from diffcov.store.datasets.dataset_json import ListedLabels
from diffcov.store.datasets.pictures import EXTENSIONS, pictures_shape, read_pictures
from diffcov.store.datasets.resize import Resize
from diffcov.store.datasets.stored import SPLITS, Pixels, Positions, Stored

__all__ = ["open_tree", "split_names"]


def split_names(names: Sequence[str]) -> Mapping[str, list[str]]:
    """Split -> its pictures, sorted by path.

    Two splits if the root holds the folders ``train`` and ``test`` and no other picture; else all is ``train``.

    Args:
        names: paths of pictures relative to the root, with forward slashes, in any order.
    """
    ordered, tops = sorted(names), dict[str, list[str]]()
    for name in ordered:
        tops.setdefault(PurePosixPath(name).parts[0], []).append(name)
    return tops if tops.keys() == set(SPLITS) else {"train": ordered}


def _classes(splits: Mapping[str, Sequence[str]], depth: int) -> list[str]:
    """The folders at a depth, sorted, of all splits, so that a number means one class in each.

    Empty unless every picture lies in such a folder and there are two of them.
    """
    parts = [PurePosixPath(name).parts for names in splits.values() for name in names]
    classes = sorted({names[depth] for names in parts})
    return classes if len(classes) > 1 and all(len(names) > depth + 1 for names in parts) else []


def open_tree(
    names: Sequence[str],
    where: Path,
    split: str,
    contents: Callable[[str], bytes],
    listed: bytes | None = None,
) -> Stored:
    """The pictures of a split, sorted by path, with the classes of a ``dataset.json``, else the ranks of their folders.

    Args:
        names: paths of all pictures relative to ``where``, with forward slashes.
        where: the folder or zip, for messages.
        split: one that :func:`split_names` finds.
        contents: name -> the bytes of that file.
        listed: the content of a ``dataset.json`` beside them; None where there is none.

    Raises:
        InputError: no picture, or a ``dataset.json`` that does not fit them.
    """
    if not names:
        looked_for = ", ".join(EXTENSIONS)
        raise InputError(f"there is no image in {where} or below it: looked for {looked_for} files")
    splits = split_names(names)
    mine, depth = splits[split], len(splits) - 1

    def pick(positions: Positions, resize: Resize | None) -> Pixels:
        return read_pictures([mine[position] for position in positions], contents, where, resize)

    def shape(positions: Positions, resize: Resize | None) -> tuple[int, int, int]:
        return pictures_shape([mine[position] for position in positions], contents, where, resize)

    if (told := ListedLabels.read(listed, where)) is not None:
        every = {name: told.of(part) for name, part in splits.items()}
        counts = [int(labels.max()) + 1 for labels in every.values() if labels is not None]
        return Stored(len(mine), pick, every[split], max(counts, default=None), shape=shape)
    classes = _classes(splits, depth)
    if not classes:
        return Stored(len(mine), pick, shape=shape)
    rank = {name: number for number, name in enumerate(classes)}
    labels = np.array([rank[PurePosixPath(name).parts[depth]] for name in mine], dtype=np.int64)
    return Stored(len(mine), pick, labels, len(classes), shape=shape)
