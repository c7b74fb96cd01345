"""The embedded digits: the published images and labels, and their two fixed splits."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from diffcov.data import DataDescription
from diffcov.errors import InputError
from diffcov.store.datasets import has_test_split, load_images
from diffcov.store.datasets.subset import kept_indices

PARTS = ("train", "test")


def test_digits_are_the_published_ones() -> None:
    train, test = (load_images("digits", split=split) for split in PARTS)
    assert train.images.shape == (1500, 1, 8, 8)
    assert test.images.shape == (297, 1, 8, 8)
    for digits, split in ((train, "train"), (test, "test")):
        assert digits.images.dtype == torch.uint8
        assert digits.description == DataDescription(channels=1, height=8, width=8, levels=17)
        assert (digits.source, digits.split, digits.classes) == ("digits", split, 10)
        assert int(digits.images.min()) == 0
        assert int(digits.images.max()) == 16
    # The first lines of the first image, as the UCI file spells them: a zero, the right way up.
    assert train.images[0, 0, :2].tolist() == [[0, 0, 5, 13, 9, 1, 0, 0], [0, 0, 13, 15, 10, 15, 5, 0]]


def test_the_splits_of_the_digits_are_the_whole_source_each_image_once_with_its_label() -> None:
    with as_file(files("diffcov") / "assets" / "digits.safetensors") as path:
        asset = load_file(path)
    train, test = (load_images("digits", split=split) for split in PARTS)
    place = torch.from_numpy(kept_indices(1797, 297))
    rest = torch.ones(1797, dtype=torch.bool)
    rest[place] = False
    for digits, chosen in ((test, place), (train, rest)):
        assert digits.labels is not None
        assert torch.equal(digits.images, asset["images"][chosen])
        assert torch.equal(digits.labels, asset["labels"][chosen].long())
    # About 30 of each digit were held out: the choice knows nothing of the classes.
    assert test.labels is not None
    assert 15 <= int(test.labels.bincount().min()) <= int(test.labels.bincount().max()) <= 45


@pytest.mark.parametrize("split", PARTS)
def test_digits_keep_a_limited_subset_with_its_labels(split: str) -> None:
    some, whole = load_images("digits", limit=10, split=split), load_images("digits", split=split)
    kept = kept_indices(whole.count, 10)
    assert some.labels is not None
    assert whole.labels is not None
    assert torch.equal(some.images, whole.images[kept])
    assert torch.equal(some.labels, whole.labels[kept])
    assert len(some.labels.unique()) < 10
    assert some.classes == 10, "a limit leaves no class out of the count"


def test_a_folder_named_digits_is_reached_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert load_images("digits").count == 1500
    with pytest.raises(InputError, match="there is no image in"):
        load_images("./digits")


def test_the_digits_have_a_test_split() -> None:
    assert has_test_split("digits")
    with pytest.raises(InputError, match="digits has no val split"):
        load_images("digits", split="val")
    assert load_images("digits", 5).layout.splits == {"train": 1500, "test": 297}
