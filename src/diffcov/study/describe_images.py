"""What a set of images is, looked at to the last one."""

from __future__ import annotations

import hashlib
import shlex
from pathlib import Path
from typing import Any

import torch

from diffcov.data import in_blocks
from diffcov.errors import InputError, UsageError
from diffcov.store.datasets import EMBEDDED, ImageDataset, has_test_split, load_images
from diffcov.store.foreign.diffusers_folder import is_diffusers_folder
from diffcov.store.run import RunFolder
from diffcov.store.sample_set import is_sample_set
from diffcov.study.pictures import resize_asked, room_for
from diffcov.study.requests.describe import DescribeRequest
from diffcov.study.requests.pictures import PictureChoice

__all__ = ["describe_images", "images_at", "is_run", "refuse_images", "refuse_without_images"]


WEIGHTS = (".pt", ".pth", ".ckpt")
"""Endings under which others keep weights."""
PIPELINE = "model_index.json"
"""What a folder of diffusers says of its parts."""


def is_run(path: Path) -> bool:
    """Whether a path is a run in which a mean is, or is being trained."""
    run = RunFolder(path)
    return path.is_dir() and (run.mean.is_file() or run.state("mean").is_file())


def images_at(path: Path, pictures: PictureChoice) -> ImageDataset | None:
    """The images at a path; None if it is one of the files or folders that diffcov writes itself.

    Raises:
        UsageError: a choice of how pictures are made images that contradicts itself.
        InputError: nothing there, or images that cannot be read.
    """
    ours = path.suffix in (".json", ".safetensors", ".png") and not path.is_dir()
    if is_sample_set(path) or is_run(path) or ours:
        return None
    if not path.exists() and str(path) not in EMBEDDED:
        raise InputError(f"no such file or run: {path}; make a run with: diffcov train-mean")
    _refuse_others(path)
    return load_images(str(path), resize=resize_asked(pictures), room=room_for(pictures))


def _refuse_others(path: Path) -> None:
    """Refuse (InputError) a model of other tools, or a folder of sets of samples, and name the way to look at it."""
    if path.suffix in WEIGHTS or is_diffusers_folder(path) or (path / PIPELINE).is_file():
        raise InputError(
            f"{path} is a model of another tool and no set of images; to see whether it can be read, and to make a run "
            f"of it: diffcov import {shlex.quote(str(path))} --data IMAGES --run RUN"
        )
    folders = [one for one in path.iterdir() if one.is_dir()] if path.is_dir() else []
    sets = sorted(one.name for one in folders if is_sample_set(one))
    if sets and (len(sets) == len(folders) or is_run(path.parent)):
        raise InputError(
            f"{path} holds {len(sets)} set(s) of samples ({', '.join(sets[:3])}{', ...' if sets[3:] else ''}); look at "
            f"one of them: diffcov inspect {shlex.quote(str(path / sets[0]))}"
        )


def refuse_without_images(request: DescribeRequest, path: Path) -> None:
    """Refuse (UsageError) what is asked of images alone, where there are none."""
    choice = request.pictures
    told = {"--sheet": request.sheet, "--size": choice.size, "--crop": choice.crop, "--drop-alpha": choice.drop_alpha}
    named = [name for name, value in told.items() if value]
    if named:
        raise UsageError(
            f"{named[0]} is about a set of images, and {path} was written by diffcov; leave it out, or inspect "
            "the images"
        )
    if request.data is not None and not request.verify:
        raise UsageError("--data says where the images are that digests are recomputed of; add --verify")


def refuse_images(request: DescribeRequest, path: Path) -> None:
    """Refuse (UsageError) what is asked of files that diffcov wrote, where there are images."""
    if request.verify or request.data is not None:
        raise UsageError(
            f"--verify and --data are about what diffcov wrote, and {path} holds images, of which nothing is recorded "
            "but what their own files say; leave them out: the digest of the images is shown without"
        )


def describe_images(images: ImageDataset) -> dict[str, Any]:
    """A report as :func:`diffcov.study.describe.describe` makes it, of one part."""
    distinct, darkest, brightest, total = set[bytes](), 255, 0, 0
    for block in in_blocks(images.examples, 1024):
        distinct |= {hashlib.sha256(image.tobytes()).digest() for image in block.images.numpy()}
        darkest, brightest = min(darkest, int(block.images.min())), max(brightest, int(block.images.max()))
        total += int(block.images.sum())
    layout = images.layout
    part = {
        "kind": "images",
        "path": images.source,
        "read as": layout.format,
        "split": images.split,
        "splits": dict(layout.splits),
        "test split": has_test_split(images.source),
        "count": images.count,
        "images": str(images.description),
        "classes": images.classes,
        "class names": None if layout.class_names is None else list(layout.class_names),
        "images a class": _a_class(images),
        "labels from": layout.labels_from,
        "duplicates": images.count - len(distinct),
        "darkest, mean, brightest": f"{darkest}, {total / images.bytes:.1f}, {brightest}",
        "remarks": list(layout.remarks),
        "warnings": list(layout.warnings),
        "digest": images.digest(),
    }
    return {"path": images.source, "parts": [part], "problems": []}


def _a_class(images: ImageDataset) -> list[int] | None:
    """How many images each class has, in the order of their numbers."""
    if images.labels is None:
        return None
    counts: list[int] = torch.bincount(images.labels, minlength=images.classes).tolist()
    return counts
