"""How pictures are made images, as a command says and otherwise as the mean's own were; and what is told of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from diffcov.errors import InputError, UsageError
from diffcov.store.datasets import HELD_OUT, ImageDataset, Resize, Room
from diffcov.store.datasets.large import BLOCK_BYTES
from diffcov.store.paths import shown
from diffcov.study.listener import Listener
from diffcov.study.requests.pictures import PictureChoice

__all__ = [
    "described",
    "resize_asked",
    "resize_like",
    "resize_told",
    "room_for",
    "sentence_of",
    "shortened",
    "tell_data",
]

NAME, ROW = 24, 60
"""Signs of a class's name that are shown, and of all names about."""


def resize_asked(choice: PictureChoice) -> Resize | None:
    """What a command says alone; the crop is that of :class:`Resize` unless it says another.

    Raises:
        UsageError: a crop without a size, or a size below 1.
    """
    if choice.size is None:
        if choice.crop is not None:
            raise UsageError("--crop says which part of a picture is shrunk, and needs --size N to shrink it to")
        return Resize(drop_alpha=True) if choice.drop_alpha else None
    return Resize(choice.size, choice.crop or Resize.crop, choice.drop_alpha)


def resize_like(own: Mapping[str, Any] | None, choice: PictureChoice, others: bool) -> Resize | None:
    """What a command says, or what was done to the mean's own images.

    Args:
        own: provenance of those, if they are known.
        choice: of the command.
        others: whether the command names other images, which may be cropped in another way.

    Raises:
        UsageError: as for :func:`resize_asked`.
        InputError: the mean's own images made in another way than for its training.
    """
    asked, known = resize_asked(choice), None if own is None else Resize.from_dict(own)
    if asked is None:
        return known
    if known is not None:  # what was not said is as it was
        size, crop = (known.size, known.crop) if asked.size is None else (asked.size, asked.crop)
        crop = known.crop if choice.crop is None and size == known.size and not others else crop
        asked = Resize(size, crop, asked.drop_alpha or known.drop_alpha)
    if others or own is None:
        return asked
    if known != asked:
        as_found = "images as they are" if known is None else f"images made by {known}"
        raise InputError(
            f"{asked} was asked for, and the mean was trained on {as_found}, which is remembered: leave --size, --crop "
            "and --drop-alpha out, or give other images with --data"
        )
    return known


def resize_told(choice: PictureChoice) -> dict[str, Any]:
    """What was said of how pictures are made, by name, as settings keep it; the rest of the choice changes no image."""
    told = {"size": choice.size, "crop": choice.crop, "drop_alpha": choice.drop_alpha or None}
    return {name: value for name, value in told.items() if value is not None}


def room_for(choice: PictureChoice) -> Room:
    """Where images may be, as a command says."""
    return Room(None if choice.memory is None else int(choice.memory * 1e9), choice.cache)


def tell_data(images: ImageDataset, say: Listener) -> None:
    """Say what a set of images is, what was read in which way, and where it stays; once to each listener."""
    layout = images.layout
    told = [described(images), *(sentence_of(images, remark) for remark in layout.remarks)]
    total = layout.splits.get(images.split)
    if images.split == "train" and total is not None and images.count < total:
        told.append(f"{images.count} of these {total} are taken to train and measure on, always the same ones")
    if not images.examples.in_memory:
        told.append(
            f"{images.bytes / 1e9:.3g} GB of images stay on disk: each batch is read when it is needed, the next two "
            f"while the network works, and at most {BLOCK_BYTES / 1e6:.0f} MB at once where all are looked at"
        )
    for text in told:
        if say.first_time(text):
            say.note(text)
    for text in (sentence_of(images, warning) for warning in layout.warnings):
        if say.first_time(text):
            say.warn(text)


def sentence_of(images: ImageDataset, sentence: str) -> str:
    """A sentence of a layout with the source that it is about."""
    return shown(f"{images.source}: {sentence}")


def described(images: ImageDataset) -> str:
    """A set of images on one line: source, splits with their counts, size, classes, and where these came from."""
    held = [split for split in images.layout.splits if split in HELD_OUT]
    parts = [f"{_counts(images)} images of {images.description}", _classes(images)]
    if held:
        parts.append(f"{' and '.join(held)} {'is' if len(held) == 1 else 'are'} held out, and never trained on")
    return shown(f"data: {images.source}: {'; '.join(parts)}")


def _counts(images: ImageDataset) -> str:
    """How many images each split has, where that is known."""
    splits = dict(images.layout.splits) or {images.split: images.count}
    if tuple(splits) == ("train",):
        return str(splits["train"])
    return ", ".join(name if count is None else f"{name} {count}" for name, count in splits.items())


def _classes(images: ImageDataset) -> str:
    """How many classes there are, what they are called and who says so."""
    if not images.classes:
        return "no classes"
    where, names = images.layout.labels_from, images.layout.class_names
    called = f" ({shortened(names)})" if names else f" (0 to {images.classes - 1})"
    return f"{images.classes} classes{called}{f' from {where}' if where else ''}"


def shortened(names: Sequence[str]) -> str:
    """Names in a row, as many as are quickly read."""
    row = list[str]()
    for name in names:
        row.append(name if len(name) <= NAME else f"{name[: NAME - 1]}…")
        if len(row) < len(names) and sum(map(len, row)) > ROW:
            return f"{', '.join(row)}, …"
    return ", ".join(row)
