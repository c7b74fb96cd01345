"""How pictures are made images: as a command says, and otherwise as the mean's own were."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffcov.errors import InputError, UsageError
from diffcov.store.datasets import ImageDataset, Resize, Room
from diffcov.store.datasets.large import BLOCK_BYTES
from diffcov.study.listener import Listener
from diffcov.study.requests.pictures import PictureChoice

__all__ = ["resize_asked", "resize_like", "resize_told", "room_for", "tell_place"]


def resize_asked(choice: PictureChoice) -> Resize | None:
    """What a command says alone; the crop is that of :class:`Resize` unless it says another.

    Raises:
        UsageError: a crop without a size, or a size below 1.
    """
    if choice.size is None:
        if choice.crop is not None:
            raise UsageError("--crop says which part of a picture is shrunk, and needs --size N to shrink it to")
        return None
    return Resize(choice.size, choice.crop or Resize.crop)


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
    if others or own is None:
        return asked
    told_crop = choice.crop is not None
    if known is None or asked.size != known.size or (told_crop and asked.crop != known.crop):
        as_found = "images as they are" if known is None else f"images made by {known}"
        raise InputError(
            f"{asked} was asked for, and the mean was trained on {as_found}, which is remembered: leave --size and "
            "--crop out, or give other images with --data"
        )
    return known


def resize_told(choice: PictureChoice) -> dict[str, Any]:
    """What was said of size and crop, by name, as settings keep it; the rest of the choice changes no image."""
    return {name: value for name, value in (("size", choice.size), ("crop", choice.crop)) if value is not None}


def room_for(choice: PictureChoice) -> Room:
    """Where images may be, as a command says."""
    return Room(None if choice.memory is None else int(choice.memory * 1e9), choice.cache)


def tell_place(images: ImageDataset, say: Listener) -> None:
    """Say that images stay on disk, where they do, and how much of them is in memory at a time."""
    if not images.examples.in_memory:
        say.note(
            f"{images.bytes / 1e9:.3g} GB of images stay on disk: each batch is read when it is needed, the next two "
            f"while the network works, and at most {BLOCK_BYTES / 1e6:.0f} MB at once where all are looked at"
        )
