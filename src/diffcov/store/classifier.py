"""Classifiers on disk, bound to the images they were trained on; and the one for the embedded digits."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from diffcov.nets.classifier import Classifier, ClassifierSpec
from diffcov.store import artifact
from diffcov.store.checkpoint import check_size, load_weights

__all__ = ["ClassifierFile", "load_classifier", "load_digits_classifier", "save_classifier"]

KIND = "classifier"


@dataclass(frozen=True)
class ClassifierFile:
    """A classifier as read from disk.

    Attributes:
        classifier: frozen, in eval mode, on the CPU.
        data: digest of the images it was trained on.
        training: how it was trained, and its accuracy on held-out images.
        digest: of its weights.
    """

    classifier: Classifier
    data: str
    training: dict[str, Any]
    digest: str


def save_classifier(path: Path, classifier: Classifier, data: str, training: dict[str, Any]) -> str:
    """Write a classifier; returns the digest of its weights. OutputError if the file system refuses."""
    metadata = {"classifier": classifier.spec.as_dict(), "data": data, "training": training}
    return artifact.write(path, KIND, classifier.state_dict(), metadata)


def load_classifier(path: Path) -> ClassifierFile:
    """Read a classifier.

    Raises:
        InputError: missing, damaged, not a classifier, or weights that do not fit its configuration.
        NonFiniteError: NaN or infinity in the weights.
    """
    found = artifact.read(path, KIND)
    with artifact.understanding(path):
        spec = ClassifierSpec.from_dict(found.metadata["classifier"])
        check_size(spec.build, found.tensors, path)
        classifier = spec.build()
        data, training = found.metadata["data"], found.metadata["training"]
    load_weights(classifier, found.tensors, path)
    classifier.eval().requires_grad_(False)
    return ClassifierFile(classifier, data, training, found.digest)


def load_digits_classifier() -> ClassifierFile:
    """The classifier of the embedded digits (see ``assets/README.md``), trained on their train split alone."""
    with as_file(files("diffcov") / "assets" / "digits-classifier.safetensors") as path:
        return load_classifier(path)
