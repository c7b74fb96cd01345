"""npy and npz: small files written by hand, read back pixel by pixel, with labels and splits."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from diffcov.errors import InputError
from diffcov.store.datasets import has_test_split, load_images
from diffcov.store.datasets.subset import kept_indices

# Neither square nor symmetric, every value its own: a swap of axes or channels cannot go unseen.
GREY = np.arange(5 * 3 * 7, dtype=np.uint8).reshape(5, 3, 7)
COLOUR = (np.arange(5 * 5 * 3 * 7) * 97 % 251).astype(np.uint8).reshape(5, 5, 3, 7)[:, :3]


def refused(path: Path, message: str, split: str = "train") -> None:
    with pytest.raises(InputError, match=message) as refusal:
        load_images(str(path), split=split)
    assert str(path) in str(refusal.value)
    assert refusal.value.exit_code == 3


def save(path: Path, array: np.ndarray) -> None:
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        np.savez_compressed(path, array)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (GREY, GREY[:, None]),
        (GREY[..., None], GREY[:, None]),
        (GREY[:, None], GREY[:, None]),
        (COLOUR, COLOUR),
        (COLOUR.transpose(0, 2, 3, 1), COLOUR),
        (np.asfortranarray(COLOUR), COLOUR),
        (COLOUR.transpose(0, 2, 3, 1)[..., [0, 1, 2, 0]], COLOUR[:, [0, 1, 2, 0]]),
    ],
    ids=["NHW", "NHW1", "N1HW", "NCHW", "NHWC", "fortran", "NHW4"],
)
def test_arrays_of_every_layout(tmp_path: Path, suffix: str, stored: np.ndarray, expected: np.ndarray) -> None:
    path = tmp_path / f"set{suffix}"
    save(path, stored)
    loaded = load_images(str(path))
    assert loaded.description.shape == expected.shape[1:]
    assert loaded.description.levels == 256
    assert loaded.images.is_contiguous()
    assert np.array_equal(loaded.images.numpy(), expected)
    some = load_images(str(path), limit=3)
    assert np.array_equal(some.images.numpy(), expected[kept_indices(5, 3)])


def test_changing_the_images_leaves_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "set.npy"
    np.save(path, GREY)
    load_images(str(path)).images.zero_()
    assert np.array_equal(np.load(path), GREY)


def test_limit_reads_only_what_it_keeps_of_a_npy(tmp_path: Path) -> None:
    # 16 GiB that exist as a hole in a file: reading all of it would show in time and memory.
    path, count = tmp_path / "huge.npy", 2**18
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|u1", "fortran_order": False, "shape": (count, 1, 256, 256)}
        )
        file.truncate(file.tell() + count * 2**16)
    assert load_images(str(path), limit=3).images.shape == (3, 1, 256, 256)


@pytest.mark.parametrize("name", ["set", "set.npz", "set.bin"])
def test_npz_key_order_and_name(tmp_path: Path, name: str) -> None:
    def loaded(**arrays: np.ndarray) -> np.ndarray:
        with (tmp_path / name).open("wb") as file:
            np.savez(file, **arrays)
        return load_images(str(tmp_path / name)).images.numpy()

    labels = np.arange(5)
    assert np.array_equal(loaded(images=GREY + 1, arr_0=GREY, labels=labels)[:, 0], GREY)
    assert np.array_equal(loaded(labels=labels, images=GREY)[:, 0], GREY)
    assert np.array_equal(loaded(pictures=GREY)[:, 0], GREY)


def test_npz_without_a_clear_key_lists_them(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, pixels=GREY, labels=np.arange(5))
    refused(path, "holds the arrays pixels, labels: save the images as 'arr_0' or 'images'")


# Each image is all of its own label.
NUMBERS = np.array([7, 2, 9, 4, 6])
NUMBERED = np.repeat(NUMBERS, 6).reshape(5, 2, 3).astype(np.uint8)


@pytest.mark.parametrize("key", ["labels", "label", "y", "arr_1", "y_train"])
@pytest.mark.parametrize("images", ["arr_0", "images", "x_train"])
@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.int64])
def test_npz_labels(tmp_path: Path, images: str, key: str, kind: type) -> None:
    path = str(tmp_path / "set.npz")
    np.savez(path, **{key: NUMBERS.astype(kind), images: NUMBERED})
    loaded, some = load_images(path), load_images(path, limit=2)
    assert loaded.labels.tolist() == loaded.images[:, 0, 0, 0].tolist() == NUMBERS.tolist()
    assert some.labels.tolist() == some.images[:, 0, 0, 0].tolist() == NUMBERS[kept_indices(5, 2)].tolist()
    assert loaded.classes == some.classes == 10


def test_the_order_of_npz_label_keys(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, arr_0=NUMBERED, y=NUMBERS + 2, label=NUMBERS + 1, labels=NUMBERS, arr_1=NUMBERS + 3)
    assert load_images(str(path)).labels.tolist() == NUMBERS.tolist()


@pytest.mark.parametrize(
    "arrays",
    [
        {"labels": NUMBERS / 10},
        {"labels": np.eye(5, dtype=np.int64)},
        {"labels": np.array(list("abcde"))},
        {"arr_1": NUMBERS[:4]},
        {"y_test": NUMBERS},
    ],
    ids=["fractions", "one-hot", "words", "fewer", "of the test"],
)
def test_arrays_that_are_no_npz_labels(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, arr_0=NUMBERED, **arrays)
    assert load_images(str(path)).labels is None


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (NUMBERS[:4], "the train split of .* has 5 images and 4 labels"),
        (NUMBERS - 3, "holds the label -1: number its classes from 0"),
    ],
)
def test_npz_labels_that_cannot_be(tmp_path: Path, labels: np.ndarray, message: str) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, arr_0=NUMBERED, labels=labels)
    refused(path, message)


@pytest.mark.parametrize(
    "names",
    [("x_train", "y_train", "x_test", "y_test"), ("images", "labels", "test_images", "test_labels")],
    ids=["Keras", "plain"],
)
def test_npz_splits(tmp_path: Path, names: tuple[str, ...]) -> None:
    path = tmp_path / "mnist.npz"
    arrays = (NUMBERED, NUMBERS, NUMBERED[:2] + np.uint8(1), NUMBERS[:2] + 1)
    np.savez(path, **dict(zip(names, arrays, strict=True)))
    assert has_test_split(str(path))
    train, test = load_images(str(path)), load_images(str(path), split="test")
    assert np.array_equal(train.images.numpy()[:, 0], NUMBERED)
    assert train.labels.tolist() == NUMBERS.tolist()
    assert np.array_equal(test.images.numpy()[:, 0], NUMBERED[:2] + 1)
    assert (test.split, test.labels.tolist()) == ("test", (NUMBERS[:2] + 1).tolist())


def test_test_images_alone_are_just_a_set(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, x_test=NUMBERED)
    assert not has_test_split(str(path))
    assert (load_images(str(path)).count, load_images(str(path)).split) == (5, "train")
    refused(path, "has no test split", split="test")


def test_asking_a_damaged_npz_for_its_test_split(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    path.write_bytes(b"PK")
    refused(path, "is no complete array of plain numbers", split="test")


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            GREY.astype(np.float32),
            r"holds float32 values, and images are uint8 in 0..255: scale, round and clip",
        ),
        (GREY.astype(np.int64), "holds int64 values"),
        (GREY[0], r"shape \(3, 7\): images are \(N, H, W, C\), \(N, C, H, W\) or \(N, H, W\)"),
        (np.zeros((2, 5, 3, 7), dtype=np.uint8), r"shape \(2, 5, 3, 7\).* with C one of 1, 3, 4"),
        (GREY[:0], "there is no image in"),
        (np.array([{}]), "is no complete array of plain numbers"),
    ],
)
def test_array_refusals(tmp_path: Path, suffix: str, array: np.ndarray, message: str) -> None:
    path = tmp_path / f"set{suffix}"
    save(path, array)
    refused(path, message)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize("kept", [0, 4, 130, -3])
def test_truncated_arrays_are_refused(tmp_path: Path, suffix: str, kept: int) -> None:
    path = tmp_path / f"set{suffix}"
    save(path, GREY)
    path.write_bytes(path.read_bytes()[:kept])
    refused(path, "is no complete array of plain numbers .*: write it again")


def test_an_npz_whose_bytes_rotted_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, GREY)
    content = bytearray(path.read_bytes())
    content[content.index(GREY.tobytes())] ^= 1
    path.write_bytes(content)
    refused(path, "is no complete array of plain numbers .*CRC")


def test_a_zip_of_other_things_is_no_npz(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    refused(path, "there is no image in .*looked for png, jpg")


@pytest.mark.parametrize(
    "names",
    [("x_train", "y_train", "x_test", "y_test"), ("train_images", "train_labels", "test_images", "test_labels")],
    ids=["Keras", "MedMNIST"],
)
def test_labels_as_a_column(tmp_path: Path, names: tuple[str, str, str, str]) -> None:
    """Keras gives CIFAR's labels as (N, 1), MedMNIST all of its."""
    x, y, x_test, y_test = names
    column = np.arange(5, dtype=np.uint8)[:, None] % 3
    np.savez(tmp_path / "set.npz", **{x: NUMBERED, y: column, x_test: NUMBERED[:2], y_test: column[:2]})
    path = str(tmp_path / "set.npz")
    train, test = load_images(path), load_images(path, split="test")
    assert (train.count, train.classes, test.count) == (5, 3, 2)
    assert train.labels is not None
    assert test.labels is not None
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 1, 2, 0, 1], [0, 1])
