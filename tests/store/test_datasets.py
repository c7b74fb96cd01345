"""What every format shares: the limit, the split, the value object, and the refusal of unknown paths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from diffcov.data import DataDescription
from diffcov.errors import InputError, UsageError
from diffcov.store.datasets import ImageDataset, has_test_split, load_images
from diffcov.store.datasets.load import READERS
from diffcov.store.datasets.subset import kept_indices

# --- the split


@pytest.mark.parametrize("split", ["valid", "", "Train"])
def test_another_split_is_refused(split: str) -> None:
    with pytest.raises(UsageError, match=f"the split must be one of train, val, test, found '{split}'") as refusal:
        load_images("digits", split=split)
    assert refusal.value.exit_code == 2


def test_a_source_without_a_test_split_says_what_would_have_one(tmp_path: Path) -> None:
    path = tmp_path / "set.npy"
    np.save(path, np.zeros((2, 3, 4), dtype=np.uint8))
    assert not has_test_split(str(path))
    message = (
        f"{path} has no test split (a folder that holds train and test, MNIST's t10k files or CIFAR's test batch "
        "would); give held-out images with --data"
    )
    with pytest.raises(InputError) as refusal:
        load_images(str(path), split="test")
    assert str(refusal.value) == message
    assert refusal.value.exit_code == 3


def test_whether_a_missing_source_has_a_test_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"no such file or folder: {tmp_path}/nowhere"):
        has_test_split(f"{tmp_path}/nowhere")


def test_provenance_says_which_split() -> None:
    test = load_images("digits", limit=5, split="test")
    assert test.provenance(5) == {
        "source": "digits", "split": "test", "limit": 5, "count": 5, "digest": test.digest()
    }  # fmt: skip
    assert load_images("digits").provenance(None)["split"] == "train"


# --- the limit


@pytest.mark.parametrize(("count", "limit"), [(1, 1), (10, 3), (1000, 999), (50_000, 2000)])
def test_limit_keeps_distinct_images_in_stored_order(count: int, limit: int) -> None:
    kept = kept_indices(count, limit)
    assert len(kept) == limit
    assert (np.diff(kept) > 0).all()
    assert kept[0] >= 0
    assert kept[-1] < count


@pytest.mark.parametrize("limit", [None, 7, 8, 10**9])
def test_no_limit_or_a_large_one_keeps_all(limit: int | None) -> None:
    assert kept_indices(7, limit).tolist() == list(range(7))


def test_limit_is_deterministic_nested_and_leaves_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    small, large = kept_indices(1000, 20), kept_indices(1000, 50)
    assert small.tolist() == kept_indices(1000, 20).tolist()
    assert set(small) < set(large)
    assert torch.equal(torch.get_rng_state(), state)


def test_limit_mixes_the_classes_of_a_sorted_set() -> None:
    classes = kept_indices(50_000, 200) // 5000
    assert set(classes) == set(range(10))


@pytest.mark.parametrize("limit", [0, -1])
def test_limit_below_one_is_refused(limit: int) -> None:
    with pytest.raises(UsageError, match=f"must be at least 1, found {limit}") as refusal:
        load_images("digits", limit=limit)
    assert refusal.value.exit_code == 2


# --- the value object


def test_digest_tells_pixels_and_shapes_apart() -> None:
    images = torch.arange(24, dtype=torch.uint8).reshape(2, 1, 3, 4)
    one = ImageDataset(images, DataDescription(1, 3, 4), "here")
    same = ImageDataset(images.clone(), DataDescription(1, 3, 4), "elsewhere")
    turned = ImageDataset(images.reshape(2, 1, 4, 3), DataDescription(1, 4, 3), "here")
    brighter = ImageDataset(images + 1, DataDescription(1, 3, 4), "here")
    assert len(one.digest()) == 64
    assert one.digest() == same.digest()
    assert len({one.digest(), turned.digest(), brighter.digest()}) == 3


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            torch.zeros(1, 1, 3, 4),
            r"needs contiguous uint8 images \(N, C, H, W\), found torch.float32 of shape",
        ),
        (torch.zeros(1, 3, 4, dtype=torch.uint8), r"found torch.uint8 of shape \(1, 3, 4\)"),
        (torch.zeros(1, 1, 4, 3, dtype=torch.uint8).mT, "needs contiguous"),
        (torch.zeros(0, 1, 3, 4, dtype=torch.uint8), "there is no image in here"),
        (
            torch.zeros(1, 1, 4, 3, dtype=torch.uint8),
            r"holds images \(1, 4, 3\), its description says \(1, 3, 4\)",
        ),
        (
            torch.full((1, 1, 3, 4), 17, dtype=torch.uint8),
            "holds the grey level 17, and its 17 levels end at 16",
        ),
    ],
)
def test_a_dataset_that_contradicts_itself_is_refused(images: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ImageDataset(images, DataDescription(1, 3, 4, levels=17), "here")


def three(labels: torch.Tensor | None, class_count: int | None = None) -> ImageDataset:
    images = torch.zeros(3, 1, 3, 4, dtype=torch.uint8)
    return ImageDataset(images, DataDescription(1, 3, 4), "here", labels, class_count=class_count)


def test_classes_are_counted_by_the_largest_label_unless_the_source_knows() -> None:
    assert three(None).classes == 0
    assert three(None).split == "train"
    assert three(torch.tensor([0, 4, 1])).classes == 5
    assert three(torch.tensor([0, 4, 1]), class_count=10).classes == 10


def test_examples_are_images_and_labels_alone() -> None:
    for labels in (None, torch.tensor([0, 4, 1])):
        found = three(labels)
        assert found.examples.images is found.images
        assert found.examples.labels is labels


@pytest.mark.parametrize(
    ("labels", "class_count", "message"),
    [
        (torch.tensor([0, 1]), None, r"labels of 3 images are int64 \(3,\), found torch.int64 of shape \(2,\)"),
        (torch.zeros(3), None, r"found torch.float32 of shape \(3,\)"),
        (torch.tensor([0, -1, 2]), None, "here holds the label -1: number its classes from 0"),
        (torch.tensor([0, 1, 2]), 2, "here holds the label 2, and its 2 classes end at 1"),
    ],
)
def test_labels_that_are_no_class_numbers_are_refused(
    labels: torch.Tensor, class_count: int | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        three(labels, class_count)


# --- paths


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"no such file or folder: {tmp_path}/nowhere") as refusal:
        load_images(f"{tmp_path}/nowhere")
    assert refusal.value.exit_code == 3
    with pytest.raises(InputError, match=r"no such file or folder: \(empty\)"):
        load_images("")


@pytest.mark.parametrize("content", [b"", b"\0", b"hello", b"\x1f\x8b and then no gzip", b"\x89PNG\r\n\x1a\n"])
def test_an_unknown_file_is_refused_with_the_list_of_formats(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mystery"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"the format of {path} is not known. What can be read: digits; ") as refusal:
        load_images(str(path))
    assert refusal.value.exit_code == 3
    assert all(reader.reads in str(refusal.value) for reader in READERS)


def test_the_source_is_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "set.npy", np.zeros((2, 3, 4), dtype=np.uint8))
    monkeypatch.chdir(tmp_path)
    assert load_images("set.npy").source == str(tmp_path / "set.npy")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_images("~/set.npy").source == str(tmp_path / "set.npy")


def test_a_link_in_a_circle_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(InputError, match=r"no such file or folder|cannot read .*loop") as refusal:
        load_images(str(tmp_path / "loop"))
    assert refusal.value.exit_code == 3


def test_what_the_system_refuses_is_an_input_error(tmp_path: Path) -> None:
    # Up to Python 3.11 asking whether such a path exists is itself an error; later it just does not exist.
    with pytest.raises(InputError, match=r"cannot read .*File name too long|no such file or folder") as refusal:
        load_images(str(tmp_path / ("n" * 5000)))
    assert refusal.value.exit_code == 3
