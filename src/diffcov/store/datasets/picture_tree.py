"""What the folders in a tree of pictures mean: a split, then a class, perhaps all of it in one folder more."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from pathlib import Path

import numpy as np

from diffcov.errors import InputError
from diffcov.store.datasets.dataset_json import NAME, ListedLabels
from diffcov.store.datasets.layout import HELD_OUT, SPLITS, Layout, called_held_out, split_called
from diffcov.store.datasets.picture_set import PictureSet
from diffcov.store.datasets.pictures import EXTENSIONS
from diffcov.store.datasets.stored import Labels, Stored
from diffcov.store.paths import shown

__all__ = ["open_tree", "split_names"]

BLOCK = re.compile(r"\d{5,18}", re.ASCII)
"""What the tools of StyleGAN, EDM and FFHQ call the folders that they put so many pictures each in."""
NUMBER = re.compile(r"\d+", re.ASCII)


@dataclass(frozen=True)
class _Tree:
    """Pictures by their splits.

    Attributes:
        splits: split -> its pictures, sorted by path.
        root: the folders that all of them lie in, with a slash at the end; empty if there is none.
        depth: how many folders below that one the classes are.
    """

    splits: Mapping[str, list[str]]
    root: str
    depth: int

    def folder(self, name: str) -> str | None:
        """The folder of a picture where classes are; None if it lies above."""
        parts = name[len(self.root) :].split("/")
        return parts[self.depth] if len(parts) > self.depth + 1 else None


def split_names(names: Sequence[str], where: Path) -> Mapping[str, list[str]]:
    """Split -> its pictures, sorted by path; see :func:`open_tree`."""
    return _tree(names, where).splits


def _tree(names: Sequence[str], where: Path) -> _Tree:
    """The splits.

    Raises:
        InputError: folders of splits beside others, or such of held-out images alone.
    """
    if not names:
        return _Tree({"train": []}, "", 0)
    ordered = sorted(names)
    ends = zip(ordered[0].split("/")[:-1], ordered[-1].split("/")[:-1], strict=False)
    prefix = "".join(f"{one}/" for one, _ in takewhile(lambda pair: pair[0] == pair[1], ends))
    parts = [name[len(prefix) :].split("/") for name in ordered]
    tops = {one[0] for one in parts if len(one) > 1}
    called = {top: split for top in tops if (split := split_called(top)) is not None}
    if "train" in called.values() and set(HELD_OUT) & set(called.values()):
        loose = next((one[0] for one in parts if len(one) == 1), None)
        _check_alone(sorted(called), sorted(tops - called.keys()) + ([] if loose is None else [loose]), where)
        return _Tree(_grouped(ordered, [called[one[0]] for one in parts]), prefix, 1)
    if called and len(called) == len(tops) > 1 and "train" not in called.values():
        raise InputError(
            f"{where} holds {_listed(sorted(called))}, which is what held-out images are called, and none to train on; "
            "name one of these folders"
        )
    inner = [split_called(one[1]) if len(one) > 2 else None for one in parts]
    if None not in inner and "train" in inner and set(HELD_OUT) & set(inner):
        return _Tree(_grouped(ordered, [split or "" for split in inner]), prefix, 0)
    return _Tree({"train": ordered}, prefix, 0)


def _check_alone(called: Sequence[str], others: Sequence[str], where: Path) -> None:
    """Refuse (InputError) anything beside folders of splits: it may be to train on, and may be held out."""
    if others:
        raise InputError(
            f"{where} holds {_listed(called)}, which are splits, and beside them {_listed(others)}: it is not known "
            "whether to train on that; name the folder to train on, or put the rest elsewhere"
        )


def _listed(names: Sequence[str]) -> str:
    return shown(", ".join(names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _grouped(names: Sequence[str], splits: Sequence[str]) -> dict[str, list[str]]:
    return {
        split: [name for name, own in zip(names, splits, strict=True) if own == split]
        for split in SPLITS
        if split in splits
    }


def open_tree(
    names: Sequence[str],
    where: Path,
    split: str,
    contents: Callable[[str], bytes],
    listed: Callable[[str], bytes | None],
    remarks: tuple[str, ...] = (),
) -> Stored:
    """The pictures of a split, sorted by path, with the classes of a ``dataset.json``, else the ranks of their folders.

    Folders called train, val and test (or by another word for it) are splits, and below them a folder is a class; so it
    is with train, val and test inside each class, and with one folder round all. Where there are no two splits of which
    one is held out, all is to train on.

    Args:
        names: paths of all pictures relative to ``where``, with forward slashes.
        where: the folder or zip, for messages.
        split: one that :func:`split_names` finds.
        contents: name -> the bytes of that file.
        listed: where a ``dataset.json`` would be -> its content; None where there is none.
        remarks: what is to be told of how the names were found.

    Raises:
        InputError: no picture, folders whose meaning is not known, or a ``dataset.json`` that does not fit.
    """
    if not names:
        looked_for = ", ".join(EXTENSIONS)
        raise InputError(f"there is no image in {where} or below it: looked for {looked_for} files")
    tree = _tree(names, where)
    mine = tree.splits[split]
    told = _listed_labels(tree, split, where, listed) or _listed_in_splits(tree, split, where, listed)
    labels, count, said = told or _folder_labels(tree, split)
    layout = Layout(
        {name: len(part) for name, part in tree.splits.items()},
        None if labels is None else said.labels_from,
        said.class_names,
        (*remarks, *said.remarks),
        said.warnings + (called_held_out(tree.root.split("/")) if len(tree.splits) == 1 else ()),
    )
    return PictureSet(len(mine), mine.__getitem__, contents, where).stored(labels, count, layout)


Told = tuple[Labels | None, int | None, Layout]
"""Labels of a split, the number of classes, and what is said of them."""


def _listed_labels(tree: _Tree, split: str, where: Path, listed: Callable[[str], bytes | None]) -> Told | None:
    """What a ``dataset.json`` at the top, or in the folder that holds all, says; None if none says anything."""
    for base in dict.fromkeys(["", tree.root]):
        told = ListedLabels.read(listed(base + NAME), where)
        if told is None:
            continue
        if told.known is None:
            return None, None, Layout(remarks=(f"{base}{NAME} says that there are no classes",))
        every = {part: told.of([name[len(base) :] for name in names]) for part, names in tree.splits.items()}
        return every[split], _class_count(every.values()), Layout(labels_from=base + NAME)
    return None


def _listed_in_splits(tree: _Tree, split: str, where: Path, listed: Callable[[str], bytes | None]) -> Told | None:
    """What a ``dataset.json`` in the folder of a split says of it; None if none of them says anything.

    A split without one has no classes beside others that have: its folders need not be numbered alike.
    """
    if not tree.depth:
        return None
    every: dict[str, Labels | None] = {}
    found = []
    for part, names in tree.splits.items():
        tops = {name[len(tree.root) :].partition("/")[0] for name in names}
        base = f"{tree.root}{min(tops)}/"
        told = ListedLabels.read(listed(base + NAME), where) if len(tops) == 1 else None
        if told is not None:
            found.append(base + NAME)
            every[part] = None if told.known is None else told.of([name[len(base) :] for name in names])
    if not found:
        return None
    without = sorted(tree.splits.keys() - every.keys())
    remarks = (f"{', '.join(without)} has no {NAME}, and no classes",) if without else ()
    return every.get(split), _class_count(every.values()), Layout(labels_from=", ".join(found), remarks=remarks)


def _class_count(every: Iterable[Labels | None]) -> int | None:
    """The number of classes that the splits have together; None if none of them has any."""
    return max((int(labels.max()) + 1 for labels in every if labels is not None), default=None)


def _folder_labels(tree: _Tree, split: str) -> Told:
    """The folders where classes are, ranked over all splits, so that a number means one class in each.

    They are classes if every picture lies in one and there are two of them that are no blocks of a running number.
    """
    folders = {part: [tree.folder(name) for name in names] for part, names in tree.splits.items()}
    known = {folder for part in folders.values() for folder in part if folder is not None}
    outside = sum(folder is None for part in folders.values() for folder in part)
    if len(known) < 2:
        return None, None, Layout()
    if outside:
        remark = f"{outside} picture(s) lie in no sub-folder, so sub-folders are not taken for classes"
        return None, None, Layout(remarks=(remark,))
    if _are_blocks([name for names in tree.splits.values() for name in names], tree):
        remark = f"the {len(known)} sub-folders are blocks of a running number, and no classes"
        return None, None, Layout(remarks=(remark,))
    classes = sorted(known)
    rank = {name: number for number, name in enumerate(classes)}
    labels = np.array([rank[folder] for folder in folders[split] if folder is not None], dtype=np.int64)
    odd = [name for name in classes if split_called(name) in HELD_OUT]
    warnings = (f"the folder {odd[0]} is taken for a class; held-out images are called so",) if odd else ()
    return labels, len(classes), Layout(labels_from="sub-folders", class_names=tuple(classes), warnings=warnings)


def _are_blocks(names: Sequence[str], tree: _Tree) -> bool:
    """Whether folders are numbered and the numbers of their pictures run on from one folder to the next."""
    ranges: dict[int, tuple[int, int]] = {}
    for name in names:
        folder, digits = tree.folder(name) or "", NUMBER.findall(name.rpartition("/")[2].rpartition(".")[0])
        if not digits or len(digits[-1]) > 18 or not BLOCK.fullmatch(folder):
            return False
        number = int(digits[-1])
        low, high = ranges.get(int(folder), (number, number))
        ranges[int(folder)] = min(low, number), max(high, number)
    ends = [ranges[folder] for folder in sorted(ranges)]
    return all(before[1] < after[0] for before, after in pairwise(ends))
