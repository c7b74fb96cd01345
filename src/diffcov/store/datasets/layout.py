"""How a source says what its images are: its splits, its classes, and where these came from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

__all__ = ["HELD_OUT", "SPLITS", "WORDS", "Layout", "called_held_out", "split_called"]

SPLITS = ("train", "val", "test")
"""What a source may hold: images to train on, images held out to choose by, and images held out to judge with."""

HELD_OUT = ("val", "test")
"""Splits that nothing is trained on."""

WORDS: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "test": ("test", "testing", "eval", "evaluation"),
    "val": ("validation", "valid", "val", "dev"),
}
"""Split -> the names that folders and files of it go by, in small letters."""


@dataclass(frozen=True)
class Layout:
    """What a source says beside its images.

    Attributes:
        splits: split -> number of its images, None where only reading them would tell.
        labels_from: where the labels of this split came from, in words; None where it has none.
        class_names: the names of classes by their numbers; None where they have no other names than these.
        remarks: sentences on how it was read.
        warnings: sentences on what may not have been meant.
        format: what kind of source it is, in words.
    """

    splits: Mapping[str, int | None] = field(default_factory=dict)
    labels_from: str | None = None
    class_names: tuple[str, ...] | None = None
    remarks: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    format: str = ""


def split_called(name: str) -> str | None:
    """The split that a folder of this name holds; None if the name says nothing of splits."""
    return next((split for split in SPLITS if name.lower() in WORDS[split]), None)


def called_held_out(names: Iterable[str]) -> tuple[str, ...]:
    """A warning, in a tuple, if names under which all images lie are those of held-out images; else nothing."""
    held = [name for name in names if split_called(name) in HELD_OUT]
    if not held:
        return ()
    return (f"all images lie in {held[-1]}, which is what held-out images are called, and they are taken to train on",)
