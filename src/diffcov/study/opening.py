"""What every experiment opens first: a run's mean model, and images to measure it on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffcov.data import DataDescription, ExampleSet
from diffcov.denoiser.mean_model import PRECISIONS
from diffcov.errors import InputError
from diffcov.statistics.registry import load_all
from diffcov.store import artifact
from diffcov.store.checkpoint import MeanCheckpoint, load_mean
from diffcov.store.datasets import ImageDataset, has_test_split, load_images
from diffcov.store.run import RunFolder
from diffcov.study.device import pick_device
from diffcov.study.listener import Listener, Silent
from diffcov.study.pictures import resize_like, room_for, tell_data
from diffcov.study.precision import warn_of_slow_precision
from diffcov.study.quickest import measured_precision
from diffcov.study.requests.pictures import PictureChoice
from diffcov.study.requests.shared import Place, Running
from diffcov.study.requests.words import AUTO

__all__ = [
    "AS_REMEMBERED",
    "Opened",
    "asked_precision",
    "held_out_examples",
    "open_mean",
    "training_examples",
    "training_source",
]

AS_REMEMBERED = PictureChoice()
"""Pictures are made images as the mean's own were."""


@dataclass(frozen=True)
class Opened:
    """Images on the mean's device, and where they came from.

    Attributes:
        examples: with labels if the mean knows classes, else without.
        provenance: source, split, limit, count and digest.
        images: the data set itself.
    """

    examples: ExampleSet
    provenance: dict[str, Any]
    images: ImageDataset


def open_mean(place: Place, running: Running, listener: Listener | None = None, batch: int = 64) -> MeanCheckpoint:
    """The run's mean model on a device, in its own precision unless another is asked for.

    The listener is told if the processor is slow in that precision. Where the precision is to be the quicker one, that
    is measured with ``batch`` images a call.

    Raises:
        InputError: there is none, it is damaged, or its network is a program that is not trusted.
        NonFiniteError: its weights are not finite.
    """
    mean = load_mean(RunFolder(place.run).require_mean(), place.module)
    mean.model.to(pick_device(running.device))
    if running.precision == AUTO:
        mean.model.autocast = PRECISIONS[measured_precision(mean.model, batch, listener or Silent())]
    elif running.precision is not None:
        mean.model.autocast = PRECISIONS[running.precision]
    if listener is not None:
        warn_of_slow_precision(mean.model.precision, mean.model.device, listener)
    return mean


def asked_precision(running: Running, mean: MeanCheckpoint) -> str:
    """The name of the precision that was asked for, of a mean that :func:`open_mean` opened for it."""
    return mean.model.precision if running.precision == AUTO else running.precision or mean.spec.precision


def training_source(run: RunFolder, mean: MeanCheckpoint) -> dict[str, Any] | None:
    """Where the images that the mean belongs to came from: those it was trained on, else those its statistics know.

    A mean that was not trained here has no images of its own until something has been measured on some.
    """
    if mean.data is not None:
        return mean.data
    for kind in load_all():
        path = run.ingredient(kind)
        if path.is_file():
            values = artifact.header_values(path, artifact.read_header(path, kind.kind))
            if mean.trunk.owns(values["trunk"]):
                found: dict[str, Any] | None = values["config"]["data"]
                if found is not None:  # published norms do not say of which images they are
                    return found
    return None


def training_examples(
    run: RunFolder,
    mean: MeanCheckpoint,
    listener: Listener,
    data: str | None = None,
    limit: int | None = None,
    pictures: PictureChoice = AS_REMEMBERED,
) -> Opened:
    """The mean's own images, or others of their kind.

    Raises:
        InputError: images that are gone, not known, of another shape or number of grey levels than the mean's, without
            the labels that it needs, or made of pictures in another way than for the mean's training.
    """
    own = training_source(run, mean)
    source = data if data is not None else _known(own)["source"]
    if data is None and limit is None and own is not None:
        limit = own["limit"]
    resize = resize_like(own, pictures, data is not None)
    opened = _opened(load_images(source, limit, resize=resize, room=room_for(pictures)), limit, mean)
    tell_data(opened.images, listener)
    if own is not None and data is None and limit == own["limit"] and opened.provenance["digest"] != own["digest"]:
        listener.warn(f"the images in {source} have changed since the mean model was trained on them")
    return opened


def held_out_examples(
    run: RunFolder,
    mean: MeanCheckpoint,
    listener: Listener,
    data: str | None,
    limit: int | None,
    split: str | None,
    pictures: PictureChoice = AS_REMEMBERED,
) -> Opened:
    """Images to evaluate on.

    Args:
        run, mean, listener: as everywhere.
        data: another source than the mean's own.
        limit: a fixed random choice of so many.
        split: "train", "val" or "test"; None takes the test split where the source has one, else val where it has
            that, and says which it took.
        pictures: how pictures are made images, where not as the mean's own.

    Raises:
        InputError: as for :func:`training_examples`, or a split that is not there.
    """
    own = training_source(run, mean)
    source = data if data is not None else _known(own)["source"]
    chosen = split or ("test" if has_test_split(source) else "train")
    resize = resize_like(own, pictures, data is not None)
    opened = _opened(load_images(source, limit, chosen, resize, room_for(pictures)), limit, mean)
    tell_data(opened.images, listener)
    if split is None:
        taken = opened.images.split
        advice = "" if taken != "train" or data is not None else ": it has no test split, and these were trained on"
        listener.note(f"evaluating on {len(opened.examples)} images of the {taken} split of {source}{advice}")
    return opened


def _known(own: dict[str, Any] | None) -> dict[str, Any]:
    if own is None:
        raise InputError(
            "the images that this mean was trained on are not known: it was not trained here; give images of their "
            "kind with --data"
        )
    return own


def _opened(images: ImageDataset, limit: int | None, mean: MeanCheckpoint) -> Opened:
    data, classes = mean.spec.reading.data, mean.model.classes
    if not images.description.same_pixels(data):
        raise _another_kind(images.source, images.description, data)
    if classes and not 0 < images.classes <= classes:
        raise InputError(
            f"the mean knows {classes} classes and {images.source} has {images.classes or 'no'} labelled ones; give "
            "images with the labels that it was trained on"
        )
    examples = images.examples if classes else images.examples.unlabelled()
    return Opened(examples.to(mean.model.device), images.provenance(limit, labelled=bool(classes)), images)


def _another_kind(source: str | Path, found: DataDescription, wanted: DataDescription) -> InputError:
    smaller = wanted.height == wanted.width < min(found.height, found.width)
    remedy = f", or shrink these with --size {wanted.width}" if smaller else ""
    return InputError(
        f"{source} holds images of {found}, but the mean model was trained on {wanted}; give images of that kind with "
        f"--data{remedy}"
    )
