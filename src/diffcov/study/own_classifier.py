"""The classifier of a run's own images, whose features distances are taken in: shipped, kept, or trained once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from diffcov.data import ExampleSet
from diffcov.digest import digest_of_values
from diffcov.engines.training.classifier import ClassifierTraining, held_out, train_classifier
from diffcov.errors import InputError
from diffcov.nets.classifier import FEATURES, ClassifierSpec
from diffcov.processes.base import current
from diffcov.store.checkpoint import MeanCheckpoint
from diffcov.store.classifier import ClassifierFile, load_classifier, load_digits_classifier, save_classifier
from diffcov.store.datasets import ImageDataset, Resize, has_test_split, load_images
from diffcov.store.run import RunFolder
from diffcov.store.unfinished import outlived
from diffcov.study.keeping import KeptState, kept_beside
from diffcov.study.listener import Listener
from diffcov.study.opening import training_source

__all__ = ["CLASSIFIER", "open_classifier"]

CLASSIFIER = "classifier"
"""The name of the space that its features are."""
POOR = 0.6
"""Held-out accuracy below which a classifier's features say little about its classes."""
TESTED = 10_000
"""Images of a test split that an accuracy is measured on, at most."""


def open_classifier(
    run: RunFolder, mean: MeanCheckpoint, listener: Listener, check: Callable[[int, str], None]
) -> ClassifierFile | None:
    """The classifier of the mean's images: shipped, kept in the run, or trained now; None without labels.

    Args:
        run: where it is kept.
        mean: the run's mean model, whose training data it is trained on.
        listener: told what is trained.
        check: refuses its features by their dimensions and name, before it is trained.

    Raises:
        InputError: training data that are gone, or labels that only one split has.
    """
    own = training_source(run, mean)
    if own is None:
        return None
    if own["source"] == "digits":
        return load_digits_classifier()
    path = run.classifier
    outlived(path, path)
    kept = load_classifier(path) if path.is_file() else None
    if kept is not None and kept.data == own["digest"]:
        return kept
    images = load_images(own["source"], own["limit"], resize=Resize.from_dict(own))
    if images.classes < 2:
        return None
    if kept is not None and kept.data == images.digest():
        return kept
    check(FEATURES, CLASSIFIER)
    current().once(lambda: _train(path, images, mean.model.device, listener))
    return load_classifier(path)


def _train(path: Path, images: ImageDataset, device: torch.device, listener: Listener) -> None:
    """Train a classifier on labelled images and keep it at ``path``, over one of other images."""
    data, tested = _labelled(images), "a tenth of the images"
    if has_test_split(images.source):
        judged, tested = _labelled(load_images(images.source, TESTED, "test", images.resize)), "the test split"
    else:
        data, judged = held_out(data)
    config = ClassifierTraining.of_count(len(data))
    listener.note(f"training a classifier on {images.source} for its features, once: {path}")
    spec = ClassifierSpec(images.description, images.classes)
    identity = {
        "data": images.digest(), "spec": spec.as_dict(), "config": config.as_dict(), "device": device.type,
        "held_out": tested,
    }  # fmt: skip
    kept = kept_beside(path, digest_of_values(identity), "a training of the classifier", listener)
    with kept as keeper:
        state = KeptState(keeper, identity)
        begun = state.found()
        if begun is not None:
            listener.note(f"going on: {int(begun['iteration']):,} of {config.iterations:,} iterations are done")
        with listener.progress("classifier", config.iterations, "iterations") as bar:
            classifier = train_classifier(
                data, spec, config, device, lambda done, loss: bar.update(done, f"loss {loss:.4f}"),
                begun=begun, on_state=state.told,
            )  # fmt: skip
        accuracy = classifier.accuracy(judged)
        listener.note(f"the classifier is right on {100 * accuracy:.1f} % of {tested}")
        if accuracy < POOR:
            listener.warn(
                f"the classifier is right on only {100 * accuracy:.1f} % of {tested}: distances in its features say "
                "little; compare with --features pixels or inception"
            )
        training = {**config.as_dict(), "accuracy": accuracy, "held_out": tested, "source": images.source}
        save_classifier(path, classifier, images.digest(), training)


def _labelled(images: ImageDataset) -> ExampleSet:
    if images.labels is None:
        raise InputError(f"the {images.split} split of {images.source} has no labels, but its other split has them")
    return images.examples
