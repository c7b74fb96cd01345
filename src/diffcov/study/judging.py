"""What evaluating and comparing share: how their bench is set up."""

from __future__ import annotations

from pathlib import Path

from diffcov.digest import digest_of_tensors
from diffcov.engines.classes import Classes
from diffcov.engines.distances.frechet import require_enough
from diffcov.store.checkpoint import MeanCheckpoint
from diffcov.store.reference import load_reference
from diffcov.store.run import RunFolder
from diffcov.study.drawn import Against
from diffcov.study.features import open_features, open_reference
from diffcov.study.listener import Listener
from diffcov.study.opening import AS_REMEMBERED, Opened, training_examples
from diffcov.study.requests.pictures import PictureChoice
from diffcov.study.requests.shared import Features

__all__ = ["classes_like_data", "open_against"]


def open_against(
    choice: Features,
    run: RunFolder,
    mean: MeanCheckpoint,
    count: int,
    listener: Listener,
    data: str | None,
    pictures: PictureChoice = AS_REMEMBERED,
) -> Against:
    """Where samples are compared, and the data there.

    Args:
        choice: features and, instead of the mean's own images, statistics of another tool.
        run, mean, listener: as everywhere.
        count: samples that will be drawn.
        data: images to compare with where the mean's own are not known.
        pictures: how those are made of pictures; the mean's own are made as they were.

    Raises:
        UsageError: fewer samples, or images, than the features have dimensions.
        InputError: images or statistics that are missing, damaged, or of other features.
    """
    own = _references(run, mean, listener, data, pictures)

    def check(dims: int, name: str) -> None:
        require_enough(count, dims, "samples")
        if choice.reference is None:
            require_enough(len(own.examples), dims, "images of data")
        else:
            load_reference(choice.reference, dims, name)

    space = open_features(choice.features, run, mean, listener, check, own=choice.reference is None)
    reference = open_reference(space, run, own, choice.reference, listener)
    given: Path | None = choice.reference
    split, source = (None, str(given)) if given else ("train", str(own.provenance["source"]))
    digest = digest_of_tensors({"mu": reference.gaussian.mean, "sigma": reference.gaussian.covariance})
    return Against(space, reference, {"count": reference.count, "split": split, "source": source, "digest": digest})


def _references(
    run: RunFolder, mean: MeanCheckpoint, listener: Listener, data: str | None, pictures: PictureChoice
) -> Opened:
    """The mean's own images where they are known: what a command says of others is about others."""
    if mean.data is not None and data is not None:
        return training_examples(run, mean, listener)
    return training_examples(run, mean, listener, data, pictures=pictures)


def classes_like_data(
    run: RunFolder,
    mean: MeanCheckpoint,
    listener: Listener,
    data: str | None,
    pictures: PictureChoice = AS_REMEMBERED,
) -> Classes | None:
    """The classes of samples that are to be compared with the mean's images; None for a mean without classes."""
    if not mean.model.classes:
        return None
    labels = _references(run, mean, listener, data, pictures).examples.labels
    assert labels is not None
    return Classes.like(labels)
