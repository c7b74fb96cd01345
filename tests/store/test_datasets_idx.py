"""idx: small files written by hand, as MNIST lies in its folder, read back pixel by pixel with their labels."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from diffcov.data import DataDescription
from diffcov.errors import InputError
from diffcov.store.datasets import has_test_split, load_images
from diffcov.store.datasets.subset import kept_indices

# Neither square nor symmetric, every value its own: a swap of axes or channels cannot go unseen.
GREY = np.arange(5 * 3 * 7, dtype=np.uint8).reshape(5, 3, 7)


def idx_bytes(images: np.ndarray) -> bytes:
    return struct.pack(">4B3I", 0, 0, 8, 3, *images.shape) + images.tobytes()


def idx_labels(labels: list[int]) -> bytes:
    return struct.pack(">4BI", 0, 0, 8, 1, len(labels)) + bytes(labels)


def refused(path: Path, message: str, split: str = "train") -> None:
    with pytest.raises(InputError, match=message) as refusal:
        load_images(str(path), split=split)
    assert str(path) in str(refusal.value)
    assert refusal.value.exit_code == 3


@pytest.mark.parametrize("name", ["images", "images.gz", "train-images-idx3-ubyte", "misnamed.npyx"])
@pytest.mark.parametrize("zipped", [False, True])
def test_idx_is_known_by_its_content(tmp_path: Path, name: str, zipped: bool) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(idx_bytes(GREY)) if zipped else idx_bytes(GREY))
    loaded = load_images(str(path))
    assert loaded.description == DataDescription(1, 3, 7, levels=256)
    assert torch.equal(loaded.images, torch.from_numpy(GREY[:, None]))


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_folder_of_mnist_gives_its_training_images(tmp_path: Path, suffix: str) -> None:
    pack = gzip.compress if suffix else bytes
    (tmp_path / f"train-images-idx3-ubyte{suffix}").write_bytes(pack(idx_bytes(GREY)))
    (tmp_path / f"t10k-images-idx3-ubyte{suffix}").write_bytes(pack(idx_bytes(GREY[:2])))
    (tmp_path / f"train-labels-idx1-ubyte{suffix}").write_bytes(pack(idx_labels([3, 1, 4, 1, 5])))
    assert np.array_equal(load_images(str(tmp_path)).images.numpy()[:, 0], GREY)


def test_idx_limit(tmp_path: Path) -> None:
    path = tmp_path / "images"
    path.write_bytes(idx_bytes(GREY))
    assert np.array_equal(load_images(str(path), limit=2).images.numpy()[:, 0], GREY[kept_indices(5, 2)])


def mnist(folder: Path, suffix: str = "", **contents: bytes) -> Path:
    """A folder of idx files: ``train_images=...`` becomes train-images-idx3-ubyte."""
    for name, content in contents.items():
        set_name, kind = name.split("_")
        axes = {"images": 3, "labels": 1}[kind]
        packed = gzip.compress(content) if suffix else content
        (folder / f"{set_name}-{kind}-idx{axes}-ubyte{suffix}").write_bytes(packed)
    return folder


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_folder_of_mnist_has_splits_and_labels(tmp_path: Path, suffix: str) -> None:
    mnist(tmp_path, suffix, train_images=idx_bytes(GREY), train_labels=idx_labels([3, 1, 4, 1, 5]))
    assert not has_test_split(str(tmp_path))
    refused(tmp_path, r"has no test split .*MNIST's t10k files", split="test")
    mnist(tmp_path, suffix, t10k_images=idx_bytes(GREY[:2] + 1), t10k_labels=idx_labels([9, 0]))
    assert has_test_split(str(tmp_path))
    train, test = load_images(str(tmp_path)), load_images(str(tmp_path), split="test")
    assert (train.split, train.classes, train.labels.tolist()) == ("train", 6, [3, 1, 4, 1, 5])
    assert (test.split, test.classes, test.labels.tolist()) == ("test", 10, [9, 0])
    assert np.array_equal(test.images.numpy()[:, 0], GREY[:2] + 1)


def test_idx_limit_keeps_images_and_labels_together(tmp_path: Path) -> None:
    # Each image is all of its own label.
    labels = [7, 2, 9, 4, 6, 1, 3]
    images = np.repeat(np.array(labels, dtype=np.uint8), 6).reshape(7, 2, 3)
    mnist(tmp_path, train_images=idx_bytes(images), train_labels=idx_labels(labels))
    some = load_images(str(tmp_path), limit=3)
    assert some.labels.tolist() == some.images[:, 0, 0, 0].tolist() == [labels[place] for place in kept_indices(7, 3)]
    assert some.classes == 10


@pytest.mark.parametrize("packed", [("images", "labels"), ("images",), ("labels",)])
def test_labels_lie_beside_a_single_idx_file(tmp_path: Path, packed: tuple[str, ...]) -> None:
    for kind, content in (("images", idx_bytes(GREY)), ("labels", idx_labels([0, 1, 2, 0, 1]))):
        mnist(tmp_path, ".gz" if kind in packed else "", **{f"t10k_{kind}": content})
    path = next(tmp_path.glob("t10k-images-*"))
    single = load_images(str(path))
    assert (single.split, single.labels.tolist()) == ("train", [0, 1, 2, 0, 1])
    assert not has_test_split(str(path))
    refused(path, "has no test split", split="test")
    renamed = path.rename(tmp_path / "pictures")
    assert load_images(str(renamed)).labels is None


def test_idx_images_alone_have_no_labels(tmp_path: Path) -> None:
    unlabelled = load_images(str(mnist(tmp_path, train_images=idx_bytes(GREY))))
    assert unlabelled.labels is None
    assert unlabelled.classes == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (idx_labels([1, 2, 3, 4]), "the train split of .* has 5 images and 4 labels: fetch or write both again"),
        (idx_labels([1] * 5)[:-1], "train-labels-idx1-ubyte.* is truncated: 5 labels are 5 bytes, found 4"),
        (idx_labels([1] * 5) + b"1", "is damaged: 5 labels are 5 bytes, found 6; fetch it again"),
        (idx_labels([])[:6], r"is truncated within its header \(6 bytes\)"),
        (idx_bytes(GREY), r"holds no labels \(magic 0x00000803\): labels are uint8 \(N,\), magic 0x00000801"),
        (b"", r"holds no labels \(magic 0x\): .* move it away to use the images without labels"),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_refusals_of_idx_labels(tmp_path: Path, content: bytes, message: str, suffix: str) -> None:
    refused(mnist(tmp_path, suffix, train_images=idx_bytes(GREY), train_labels=content), message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (idx_labels([0] * 5), "holds labels, not images: name the file of images"),
        (
            struct.pack(">4B3I", 0, 0, 13, 3, 1, 1, 1) + bytes(4),
            r"another kind \(magic 0x00000d03\): images are uint8",
        ),
        (idx_bytes(GREY)[:10], r"truncated within its header \(10 bytes\)"),
        (idx_bytes(GREY)[:-1], "truncated: 5 images of 3x7 are 105 bytes, found 104; fetch it again"),
        (idx_bytes(GREY) + b"\0", "damaged: 5 images of 3x7 are 105 bytes, found 106"),
        (idx_bytes(GREY[:0]), "there is no image in"),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_idx_refusals(tmp_path: Path, content: bytes, message: str, zipped: bool) -> None:
    path = tmp_path / "images"
    path.write_bytes(gzip.compress(content) if zipped else content)
    refused(path, message)


def test_a_truncated_gzip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "images.gz"
    noise = np.random.default_rng(0).integers(0, 256, (40, 3, 7), dtype=np.uint8)
    path.write_bytes(gzip.compress(idx_bytes(noise))[:-20])
    refused(path, "is truncated or damaged .*: fetch it again")
