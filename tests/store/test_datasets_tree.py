"""What the folders in a tree of pictures mean: splits, and classes by rank."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from diffcov.errors import InputError
from diffcov.store.datasets import has_test_split, load_images
from diffcov.store.datasets.subset import kept_indices
from oracles.picture_trees import Write, both, greys, labels, picture, write_folder, write_zip


@both
def test_a_class_per_folder_ranked_by_name(tmp_path: Path, write: Write) -> None:
    files = {"dog/0.png": 4, "cat/1.png": 2, "cat/0.png": 1, "Zebra/deep/er/0.png": 0, "dog/1.png": 5, "cat/x/0.png": 3}
    path = write(tmp_path, {name: picture(grey) for name, grey in files.items()} | {"dataset.json": b"{}"})
    assert greys(path) == [0, 1, 2, 3, 4, 5]
    assert labels(path) == [0, 1, 1, 1, 2, 2]
    assert load_images(str(path)).classes == 3


@both
@pytest.mark.parametrize(
    "names",
    [["0.png", "1.png"], ["a/0.png", "a/1.png"], ["a/0.png", "b/0.png", "0.png"], ["all/a/0.png", "all/0.png"]],
    ids=["flat", "one folder", "one outside", "one outside in a root"],
)
def test_trees_without_classes(tmp_path: Path, write: Write, names: list[str]) -> None:
    loaded = load_images(str(write(tmp_path, {name: picture(7) for name in names})))
    assert loaded.count == len(names)
    assert loaded.labels is None
    assert loaded.classes == 0


@both
def test_what_is_no_picture_makes_no_class(tmp_path: Path, write: Write) -> None:
    files = {"b/0.png": picture(1), "c/0.png": picture(2)}
    strangers = dict.fromkeys(["a/readme.txt", ".cache/0.png", "__MACOSX/0.png", "notes.txt"], b"hello")
    assert labels(write(tmp_path, files | strangers)) == [0, 1]


@both
def test_limit_keeps_pictures_and_labels_together(tmp_path: Path, write: Write) -> None:
    files = {f"{label}/{number}.png": picture(10 * label + number) for label in range(8) for number in range(3)}
    path = write(tmp_path, files)
    kept = [10 * (place // 3) + place % 3 for place in kept_indices(24, 4)]
    assert greys(path, limit=4) == kept
    assert labels(path, limit=4) == [grey // 10 for grey in kept]
    assert load_images(str(path), 4).classes == 8, "a limit leaves no class out of the count"


@both
def test_train_and_test_are_splits_and_classes_lie_below(tmp_path: Path, write: Write) -> None:
    files = {"train/a/0.png": 0, "train/b/0.png": 1, "train/d/0.png": 3, "test/b/0.png": 11, "test/c/0.png": 12}
    path = write(tmp_path, {name: picture(grey) for name, grey in files.items()})
    assert has_test_split(str(path))
    assert (greys(path), greys(path, "test")) == ([0, 1, 3], [11, 12])
    # Ranked among the folders of both splits, so that a number means one class.
    assert (labels(path), labels(path, "test")) == ([0, 1, 3], [1, 2])
    assert {load_images(str(path), split=split).classes for split in ("train", "test")} == {4}
    assert load_images(str(path), split="test").split == "test"


@both
def test_splits_without_classes(tmp_path: Path, write: Write) -> None:
    files = {"train/0.png": picture(1), "train/1.png": picture(2), "test/0.png": picture(3)}
    path = write(tmp_path, files)
    assert (greys(path), greys(path, "test")) == ([1, 2], [3])
    assert labels(path) is labels(path, "test") is None


@both
def test_a_picture_without_a_class_in_one_split_leaves_both_without(tmp_path: Path, write: Write) -> None:
    names = ["train/a/0.png", "train/b/0.png", "test/a/0.png", "test/0.png"]
    path = write(tmp_path, {name: picture(5) for name in names})
    assert labels(path) is labels(path, "test") is None


@both
def test_limit_counts_in_its_split(tmp_path: Path, write: Write) -> None:
    files = {f"{split}/{number}.png": picture(number) for split in ("train", "test") for number in range(9)}
    path = write(tmp_path, files)
    for split in ("train", "test"):
        assert greys(path, split, 3) == kept_indices(9, 3).tolist()


def test_folder_and_zip_agree(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = [f"{split}/{label}/{n}.png" for split in ("train", "test") for label in "qwerty" for n in range(3)]
    files = {name: picture(int(rng.integers(256))) for name in rng.permutation(names)}
    sources = [write(tmp_path, files) for write in (write_folder, write_zip)]
    for split in ("train", "test"):
        assert greys(sources[0], split) == greys(sources[1], split)
        assert labels(sources[0], split) == labels(sources[1], split)


@both
def test_an_empty_tree_has_no_test_split(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path, {"readme.txt": b"hello"})
    assert not has_test_split(str(path))


def test_a_damaged_zip_is_refused_whatever_is_asked(tmp_path: Path) -> None:
    path = write_zip(tmp_path, {"a.png": picture(1)})
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match="is a truncated or damaged zip"):
        has_test_split(str(path))


# --- dataset.json


def as_edm_writes(labels: object, count: int = 6) -> dict[str, bytes]:
    """Blocks of two pictures a folder, and the labels beside them."""
    files = {f"{i // 2:05d}/img{i:08d}.png": picture(i) for i in range(count)}
    return files | {"dataset.json": json.dumps({"labels": labels}).encode()}


@both
def test_classes_of_a_dataset_json_and_not_of_its_blocks(tmp_path: Path, write: Write) -> None:
    names = list(as_edm_writes(None))[:-1]
    path = write(tmp_path, as_edm_writes([[name, i % 2] for i, name in reversed(list(enumerate(names)))]))
    assert (greys(path), labels(path)) == ([0, 1, 2, 3, 4, 5], [0, 1, 0, 1, 0, 1])
    assert load_images(str(path)).classes == 2
    kept = kept_indices(6, 3)
    assert labels(path, limit=3) == [int(i) % 2 for i in kept]


@both
def test_no_labels_of_a_dataset_json_are_no_labels(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path, as_edm_writes(None))
    assert labels(path) is None
    assert load_images(str(path)).classes == 0


@both
def test_splits_share_the_classes_of_a_dataset_json(tmp_path: Path, write: Write) -> None:
    files = {f"{split}/{i}.png": picture(i) for split in ("train", "test") for i in range(3)}
    told = [[name, 4 * (name == "test/2.png")] for name in files]
    path = write(tmp_path, files | {"dataset.json": json.dumps({"labels": told}).encode()})
    assert (labels(path), labels(path, "test")) == ([0, 0, 0], [0, 0, 4])
    assert load_images(str(path)).classes == load_images(str(path), split="test").classes == 5


@both
@pytest.mark.parametrize("wrapped", ["", "all/"])
def test_each_split_may_have_a_dataset_json_of_its_own(tmp_path: Path, write: Write, wrapped: str) -> None:
    """As two zips of EDM's tool, unpacked side by side: names are relative to each."""
    files = {f"{wrapped}{split}/{i:05d}/{i}.png": picture(i) for split in ("train", "test") for i in range(3)}
    train = json.dumps({"labels": [[f"{i:05d}/{i}.png", i] for i in range(3)]}).encode()
    test = json.dumps({"labels": [[f"{i:05d}/{i}.png", 4] for i in range(3)]}).encode()
    own = {f"{wrapped}train/dataset.json": train, f"{wrapped}test/dataset.json": test}
    path = write(tmp_path, files | own)
    assert (labels(path), labels(path, "test")) == ([0, 1, 2], [4, 4, 4])
    assert load_images(str(path)).classes == 5
    layout = load_images(str(path)).layout
    assert layout.labels_from is not None
    assert set(layout.labels_from.split(", ")) == set(own)


@both
def test_a_split_without_a_dataset_json_has_no_classes_beside_one_that_has(tmp_path: Path, write: Write) -> None:
    files = {f"{split}/{i}/{i}.png": picture(i) for split in ("train", "test") for i in range(2)}
    train = json.dumps({"labels": [["0/0.png", 1], ["1/1.png", 0]]}).encode()
    path = write(tmp_path, files | {"train/dataset.json": train})
    assert (labels(path), labels(path, "test")) == ([1, 0], None)
    assert load_images(str(path)).layout.remarks == ("test has no dataset.json, and no classes",)


@both
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"not json", "does not hold the labels of pictures"),
        (b'{"labels": [1, 2]}', "does not hold the labels of pictures"),
        (b'{"labels": [["a/0.png", 1]]}', "says nothing of a/1.png"),
        (b'{"labels": [["a/0.png", 1], ["a/1.png", -1]]}', "gives the class -1 to a/1.png"),
        (b'{"labels": [["a/0.png", 1], ["a/1.png", [0, 1]]]}', r"gives the class \[0, 1\] to a/1.png"),
        (b'{"labels": [["a/0.png", 1], ["a/1.png", true]]}', "gives the class True to a/1.png"),
    ],
)
def test_a_dataset_json_that_cannot_be(tmp_path: Path, write: Write, content: bytes, words: str) -> None:
    path = write(tmp_path, {"a/0.png": picture(0), "a/1.png": picture(1), "dataset.json": content})
    with pytest.raises(InputError, match=words):
        load_images(str(path))
