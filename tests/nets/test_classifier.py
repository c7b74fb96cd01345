"""The small classifier: any image shape, features that depend on one image alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from diffcov.data import DataDescription, Examples
from diffcov.errors import UsageError
from diffcov.nets.classifier import FEATURES, Classifier, ClassifierSpec


def classifier(data: DataDescription, classes: int = 3) -> Classifier:
    torch.manual_seed(0)
    return ClassifierSpec(data, classes, width=8).build()


def images(data: DataDescription, count: int) -> Tensor:
    draw = torch.Generator().manual_seed(count)
    return torch.randint(data.levels, (count, *data.shape), generator=draw, dtype=torch.uint8)


@pytest.mark.parametrize("shape", [(1, 4, 4), (1, 8, 8), (3, 5, 9), (4, 28, 28), (2, 32, 16)])
def test_any_shape_from_4x4(shape: tuple[int, int, int]) -> None:
    data = DataDescription(*shape, levels=17)
    network, batch = classifier(data).eval(), images(data, 6)
    assert network(batch).shape == (6, 3)
    features = network.features(batch)
    assert features.shape == (6, FEATURES)
    assert features.dtype == torch.float32
    torch.testing.assert_close(network(batch), network.out(features), rtol=0, atol=0)


def test_an_image_s_features_are_its_own() -> None:
    data = DataDescription(1, 8, 8)
    network, batch = classifier(data), images(data, 9)
    network.train()
    network(batch)
    network.eval()
    whole = network.features(batch)
    alone = torch.cat([network.features(image[None]) for image in batch])
    torch.testing.assert_close(alone, whole, rtol=1e-5, atol=1e-6)
    assert torch.equal(network.features(batch), whole), "and the same each time"


def test_levels_set_the_scale() -> None:
    """The same picture in 17 and in 256 levels has the same features."""
    few, many = DataDescription(1, 8, 8, levels=17), DataDescription(1, 8, 8, levels=241)
    a, b = classifier(few).eval(), classifier(many).eval()
    torch.testing.assert_close(a.features(images(few, 4)), b.features(images(few, 4) * 15), rtol=1e-5, atol=1e-6)


def test_accuracy_is_the_share_that_is_right() -> None:
    data = DataDescription(1, 8, 8)
    network, batch = classifier(data).eval(), images(data, 10)
    found = network(batch).argmax(1)
    wrong = (found + 1) % 3
    mixed = torch.where(torch.arange(10) < 7, found, wrong)
    assert network.accuracy(Examples(batch, mixed), batch_size=4) == 0.7


def test_a_spec_survives_its_dict() -> None:
    spec = ClassifierSpec(DataDescription(3, 8, 4, levels=17), 5, width=12)
    assert ClassifierSpec.from_dict(spec.as_dict()) == spec


def test_refusals() -> None:
    with pytest.raises(UsageError, match="at least 4x4 pixels, found 3x8"):
        ClassifierSpec(DataDescription(1, 3, 8), 10)
    with pytest.raises(UsageError, match="at least 2 classes and a width of 1, found 1 and 32"):
        ClassifierSpec(DataDescription(1, 8, 8), 1)
