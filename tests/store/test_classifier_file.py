"""Classifiers on disk, and the one that is shipped."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest
import torch

from diffcov.data import DataDescription
from diffcov.errors import InputError, NonFiniteError
from diffcov.nets.classifier import ClassifierSpec
from diffcov.store import artifact
from diffcov.store.classifier import load_classifier, load_digits_classifier, save_classifier
from diffcov.store.datasets import load_images

SPEC = ClassifierSpec(DataDescription(3, 8, 4, levels=17, low=0.0), 4, width=8)


def test_round_trip_is_exact(tmp_path: Path) -> None:
    classifier = SPEC.build()
    digest = save_classifier(tmp_path / "c.safetensors", classifier, "a1b2", {"seed": 3})
    found = load_classifier(tmp_path / "c.safetensors")
    assert (found.data, found.training, found.digest) == ("a1b2", {"seed": 3}, digest)
    assert found.classifier.spec == SPEC
    assert not found.classifier.training
    assert not any(weights.requires_grad for weights in found.classifier.parameters())
    images = torch.randint(17, (5, 3, 8, 4), dtype=torch.uint8)
    assert torch.equal(found.classifier.features(images), classifier.eval().features(images))


def test_refusals(tmp_path: Path) -> None:
    path, classifier = tmp_path / "c.safetensors", SPEC.build()
    with pytest.raises(InputError, match="no such file"):
        load_classifier(path)
    artifact.write(path, "head", {"w": torch.ones(1)}, {})
    with pytest.raises(InputError, match="is a 'head' file, but a 'classifier' file is needed"):
        load_classifier(path)
    metadata = {"classifier": SPEC.as_dict(), "data": "a1b2", "training": {}}
    for missing in metadata:
        rest = {name: value for name, value in metadata.items() if name != missing}
        artifact.write(path, "classifier", classifier.state_dict(), rest)
        with pytest.raises(InputError, match=f"lacks what this diffcov needs .*{missing}"):
            load_classifier(path)
    small = {**metadata, "classifier": {**SPEC.as_dict(), "classes": 3}}
    artifact.write(path, "classifier", classifier.state_dict(), small)
    with pytest.raises(InputError, match="do not fit their own configuration"):
        load_classifier(path)
    torch.nn.init.constant_(classifier.out.bias, torch.nan)
    save_classifier(path, classifier, "a1b2", {})
    with pytest.raises(NonFiniteError, match=r"NaN or infinity in out\.bias"):
        load_classifier(path)


def test_the_shipped_classifier_knows_digits_that_it_never_saw() -> None:
    found, train, test = load_digits_classifier(), load_images("digits"), load_images("digits", split="test")
    assert test.labels is not None
    accuracy = found.classifier.accuracy(test.examples)
    assert accuracy > 0.96
    assert accuracy == pytest.approx(found.training["accuracy"], abs=1.5 / test.count)
    assert found.data == train.digest(), "trained on the train split as it is"
    assert "train_classifier(" in found.training["made_with"]
    assert (files("diffcov") / "assets" / "digits-classifier.safetensors").is_file()


def test_the_shipped_classifier_is_small() -> None:
    asset = files("diffcov") / "assets" / "digits-classifier.safetensors"
    assert len(asset.read_bytes()) < 150_000
