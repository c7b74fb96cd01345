"""A feature space by name or path, and what the data look like in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from diffcov.data import DataDescription, ExampleSet, in_blocks
from diffcov.engines.distances.distances import Reference
from diffcov.engines.distances.features import FeatureSpace, features_of, pixels
from diffcov.engines.distances.frechet import Gaussian, require_enough
from diffcov.engines.distances.spectral_features import spectrum_space
from diffcov.errors import InputError, UsageError
from diffcov.nets.classifier import FEATURES
from diffcov.noise import generator
from diffcov.store.checkpoint import MeanCheckpoint
from diffcov.store.classifier import ClassifierFile
from diffcov.store.inception import INCEPTION, inception_file
from diffcov.store.reference import load_reference, reference_key, reference_path, save_reference
from diffcov.store.run import RunFolder
from diffcov.store.torchscript import load_torchscript
from diffcov.study.listener import Listener
from diffcov.study.opening import Opened, training_source
from diffcov.study.own_classifier import CLASSIFIER, open_classifier

__all__ = ["open_features", "open_reference"]


PLAIN = {"pixels": pixels, "spectrum": spectrum_space}
"""Feature spaces without a network."""

BATCH = 256
"""Images whose features are taken at a time."""


def open_features(
    text: str,
    run: RunFolder,
    mean: MeanCheckpoint,
    listener: Listener,
    check: Callable[[int, str], None] = lambda dims, name: None,
    own: bool = True,
) -> FeatureSpace:
    """The feature space that a name or a path stands for.

    Args:
        text: auto (a classifier's where there are labels, else pixels, or the spectrum where these are too many),
            pixels, spectrum, classifier, inception, or the path of a TorchScript file.
        run: where a classifier is kept.
        mean: the run's mean model; its training data are what a classifier is trained on.
        listener: told what is trained or fetched.
        check: refuses a space by its dimensions and name, before a network is trained for it.
        own: whether the data are looked at here; statistics of others are of a space that does not give way.

    Raises:
        UsageError: an unknown word, or a classifier of data without labels.
        InputError: a file that is missing, damaged, or takes no such images; training data that are gone.
    """
    space = _opened(text, run, mean, listener, check, own)
    check(space.dims, space.name)
    return space


def _opened(
    text: str, run: RunFolder, mean: MeanCheckpoint, listener: Listener, check: Callable[[int, str], None], own: bool
) -> FeatureSpace:
    """The feature space, checked where that would come too late afterwards."""
    data, device = mean.model.data, mean.model.device
    if text in PLAIN:
        return PLAIN[text](data)
    if text in ("auto", "classifier"):
        found = open_classifier(run, mean, listener, check)
        if found is not None:
            return _classifier_space(found, device)
        if text == "auto":
            return _without_labels(data, listener, check) if own else pixels(data)
        raise UsageError(
            f"--features classifier needs labels, and {_source(run, mean)} has none that tell images "
            "apart: MNIST's idx and CIFAR files, folders with a subfolder a class and zips with dataset.json carry "
            "them; take --features pixels or inception instead"
        )
    if text == "inception":
        return _scripted("inception", _inception(listener), data, device)
    if not Path(text).is_file():
        raise UsageError(
            f"--features {text} is no feature space and no file: "
            "choose auto, pixels, spectrum, classifier, inception, or the path of a TorchScript file"
        )
    return _scripted(Path(text).name, Path(text), data, device)


def _without_labels(data: DataDescription, listener: Listener, check: Callable[[int, str], None]) -> FeatureSpace:
    """Pixels, or where there are more of them than images, what a few numbers say of an image's frequencies."""
    space = pixels(data)
    try:
        check(space.dims, space.name)
    except UsageError as error:
        listener.note(
            "distances are those of the spectrum, which sees frequencies and nothing of what is in the picture: there "
            f"are no labels to train a classifier on, and {error}"
        )
        return spectrum_space(data)
    return space


def open_reference(
    space: FeatureSpace, run: RunFolder, opened: Opened, stats: Path | None, listener: Listener, limit: int = 10_000
) -> Reference:
    """What the data look like in a feature space.

    Mean and covariance are those of all images and are kept in the run; features are kept of ``limit`` images in a
    fixed random order, since distances between all pairs grow with the square.

    Args:
        space: the feature space.
        run: where the statistics are kept.
        opened: the images; the digest of their provenance names the statistics.
        stats: an npz with mu and sigma to use instead of the images.
        listener: told how far the features are.
        limit: features to keep, at most.

    Raises:
        UsageError: fewer images than the space has dimensions.
        InputError: statistics that are missing, damaged, or of other features.
        NonFiniteError: NaN or infinity in the statistics or the features.
    """
    if stats is not None:
        given = load_reference(stats, space.dims, space.name)
        return Reference(Gaussian(given.mean, given.covariance), None, given.count)
    examples = opened.examples
    require_enough(len(examples), space.dims, "images of data")
    chosen = torch.randperm(len(examples), generator=generator(0, "reference"))[:limit]
    key = reference_key(space.digest, opened.provenance["digest"])
    path = reference_path(run.path, space.name, key)
    if path.is_file():
        kept = load_reference(path, space.dims, space.name)
        if kept.key != key:
            raise InputError(f"{path} holds statistics of other images or features; remove it")
        features = _features(space, examples[chosen], listener)
        return Reference(Gaussian(kept.mean, kept.covariance), features, kept.count)
    features = _features(space, examples, listener)
    gaussian = Gaussian.of(features)
    images = opened.provenance["digest"]
    save_reference(path, gaussian.mean, gaussian.covariance, len(examples), space.name, key, images)
    return Reference(gaussian, features[chosen], len(examples))


def _features(space: FeatureSpace, examples: ExampleSet, listener: Listener) -> Tensor:
    with listener.progress(f"{space.name} features of the data", len(examples), "images") as bar:
        return features_of(space, (part.images for part in in_blocks(examples, BATCH)), BATCH, bar.update)


def _scripted(name: str, path: Path, data: DataDescription, device: torch.device) -> FeatureSpace:
    found = load_torchscript(path, data, device)
    return FeatureSpace(name, found.digest, found.dims, found.extract, found.channels)


def _inception(listener: Listener) -> Path:
    with listener.progress("inception", INCEPTION.size, "bytes") as bar:
        return inception_file(
            on_fetch=lambda path: listener.note(f"fetching {INCEPTION.url} to {path}"), on_bytes=bar.update
        )


def _classifier_space(found: ClassifierFile, device: torch.device) -> FeatureSpace:
    classifier = found.classifier.to(device)
    return FeatureSpace(CLASSIFIER, found.digest, FEATURES, lambda images: classifier.features(images.to(device)))


def _source(run: RunFolder, mean: MeanCheckpoint) -> str:
    own = training_source(run, mean)
    return "the mean's data, which are not known," if own is None else str(own["source"])
