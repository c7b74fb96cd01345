"""CIFAR in miniature: the four published archives, packed and unpacked, and pickles that want more than arrays."""

from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from diffcov.data import DataDescription
from diffcov.errors import InputError
from diffcov.store.datasets import has_test_split, load_images
from diffcov.store.datasets.cifar_pickle import pickled_batch
from diffcov.store.datasets.subset import kept_indices

PIXELS = np.random.default_rng(0).integers(0, 256, (10, 3072), dtype=np.uint8)
"""Five batches of two images."""
FINE = [int(number) for number in PIXELS[:, 0] % 100]
"""The class of an image can be told from its first pixel, so that pairs can be checked."""


def classes(images: np.ndarray) -> list[int]:
    return [int(number) for number in images[:, 0] % 100]


def pickled(images: np.ndarray, protocol: int = 2, key: bytes = b"labels") -> bytes:
    """A batch; one of CIFAR-100 has its classes under ``fine_labels``, and coarse ones that must not be taken."""
    coarse = {} if key == b"labels" else {b"coarse_labels": [19] * len(images)}
    return pickle.dumps({b"data": images, **coarse, key: classes(images), b"filenames": [b"a.png"]}, protocol)


def binary(images: np.ndarray, labels: int) -> bytes:
    """Records with a coarse label before the fine one if there are two."""
    coarse = bytes([19] * (labels - 1))
    return b"".join(
        coarse + bytes([number]) + image.tobytes() for number, image in zip(classes(images), images, strict=True)
    )


def by_python_2(images: np.ndarray) -> bytes:
    """What Python 2's cPickle wrote (protocol 2), opcode by opcode: its strings are bytes, numpy's module is old."""
    count = len(images)
    data = b"T" + images.nbytes.to_bytes(4, "little") + images.tobytes()
    dtype = b"cnumpy\ndtype\nq\x01U\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    state = b"(K\x01" + b"K" + bytes([count]) + b"M\x00\x0c\x86" + dtype + b"\x89" + data + b"tb"
    labels = b"U\x06labels](" + b"".join(b"K" + bytes([number]) for number in classes(images)) + b"e"
    return b"\x80\x02}(U\x04data" + array + state + labels + b"u."


BATCHES = [PIXELS[start : start + 2] for start in range(0, 10, 2)]
EDITIONS: dict[str, dict[str, bytes]] = {
    "cifar-10-batches-py": {
        **{f"data_batch_{number}": pickled(batch) for number, batch in enumerate(BATCHES, 1)},
        "test_batch": pickled(PIXELS[6:9]),
        "batches.meta": pickle.dumps({"label_names": ["airplane"]}),
    },
    "cifar-10-batches-bin": {
        **{f"data_batch_{number}.bin": binary(batch, 1) for number, batch in enumerate(BATCHES, 1)},
        "test_batch.bin": binary(PIXELS[6:9], 1),
    },
    "cifar-100-python": {
        "train": pickled(PIXELS, key=b"fine_labels"),
        "test": pickled(PIXELS[6:9], key=b"fine_labels"),
        "meta": b"not read",
    },
    "cifar-100-binary": {"train.bin": binary(PIXELS, 2), "test.bin": binary(PIXELS[6:9], 2)},
}


def write_folder(root: Path, name: str, files: dict[str, bytes]) -> Path:
    folder = root / name
    folder.mkdir()
    # Backwards, so that the order of the batches cannot come from the order in the folder.
    for file, content in reversed(files.items()):
        (folder / file).write_bytes(content)
    return folder


def write_tar(root: Path, name: str, files: dict[str, bytes], mode: str = "w:gz") -> Path:
    path = root / f"{name}.tar.gz"
    with tarfile.open(path, mode) as archive:
        for file, content in reversed(files.items()):
            entry = tarfile.TarInfo(f"{name}/{file}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


@pytest.mark.parametrize("write", [write_folder, write_tar])
@pytest.mark.parametrize("name", EDITIONS)
def test_training_images_of_every_edition(
    tmp_path: Path, name: str, write: Callable[[Path, str, dict[str, bytes]], Path]
) -> None:
    path = str(write(tmp_path, name, EDITIONS[name]))
    loaded = load_images(path)
    assert loaded.description == DataDescription(3, 32, 32, levels=256)
    # Planes of red, green and blue, each row by row, as the format's own page says.
    assert np.array_equal(loaded.images.numpy().reshape(10, 3072), PIXELS)
    assert loaded.images[3, 2, 5, 7] == PIXELS[3, 2 * 1024 + 5 * 32 + 7]
    assert (loaded.split, loaded.labels.tolist(), loaded.classes) == ("train", FINE, max(FINE) + 1)
    some = load_images(path, limit=4)
    assert np.array_equal(some.images.numpy().reshape(4, 3072), PIXELS[kept_indices(10, 4)])
    assert some.labels.tolist() == [FINE[place] for place in kept_indices(10, 4)]
    assert some.classes == loaded.classes


@pytest.mark.parametrize("write", [write_folder, write_tar])
@pytest.mark.parametrize("name", EDITIONS)
def test_test_images_of_every_edition(
    tmp_path: Path, name: str, write: Callable[[Path, str, dict[str, bytes]], Path]
) -> None:
    path = str(write(tmp_path, name, EDITIONS[name]))
    assert has_test_split(path)
    test = load_images(path, split="test")
    assert np.array_equal(test.images.numpy().reshape(3, 3072), PIXELS[6:9])
    assert (test.split, test.labels.tolist()) == ("test", FINE[6:9])
    assert load_images(path, limit=1, split="test").labels.tolist() == [FINE[6:9][kept_indices(3, 1)[0]]]


@pytest.mark.parametrize("write", [write_folder, write_tar])
@pytest.mark.parametrize("name", EDITIONS)
def test_training_batches_alone_have_no_test_split(
    tmp_path: Path, name: str, write: Callable[[Path, str, dict[str, bytes]], Path]
) -> None:
    path = write(tmp_path, name, {file: data for file, data in EDITIONS[name].items() if not file.startswith("test")})
    assert not has_test_split(str(path))
    assert load_images(str(path)).count == 10
    with pytest.raises(InputError, match=r"has no test split .*CIFAR's test batch") as refusal:
        load_images(str(path), split="test")
    assert refusal.value.exit_code == 3


def test_the_test_batch_of_another_edition_is_no_help(tmp_path: Path) -> None:
    files = {"train": EDITIONS["cifar-100-python"]["train"], "test.bin": EDITIONS["cifar-100-binary"]["test.bin"]}
    folder = write_folder(tmp_path, "mixed", files)
    with pytest.raises(InputError, match="lacks the test batches test: fetch or unpack CIFAR again"):
        load_images(str(folder), split="test")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("order", ["C", "F"])
def test_pickles_of_every_protocol(protocol: int, order: str) -> None:
    images, labels = pickled_batch(pickled(np.asarray(PIXELS, order=order), protocol))
    assert np.array_equal(images, PIXELS)
    assert labels is not None
    assert labels.tolist() == FINE


def test_pickles_as_python_2_wrote_them() -> None:
    images, labels = pickled_batch(by_python_2(PIXELS))
    assert np.array_equal(images, PIXELS)
    assert labels is not None
    assert labels.tolist() == FINE


@pytest.mark.parametrize("key", ["data", b"data"])
def test_a_pickle_without_labels_is_a_batch_without(key: str | bytes) -> None:
    images, labels = pickled_batch(pickle.dumps({key: PIXELS}))
    assert np.array_equal(images, PIXELS)
    assert labels is None


def test_one_batch_without_labels_leaves_the_set_without(tmp_path: Path) -> None:
    files = EDITIONS["cifar-10-batches-py"] | {"data_batch_3": pickle.dumps({b"data": BATCHES[2]})}
    assert load_images(str(write_folder(tmp_path, "cifar", files))).labels is None


def test_a_pickle_that_calls_something_is_refused_and_not_executed(tmp_path: Path) -> None:
    marker = tmp_path / "executed"

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return eval, (f"open({str(marker)!r}, 'w').close()",)

    trapped = pickle.dumps({b"data": PIXELS, b"labels": Trap()}, protocol=2)
    folder = write_folder(tmp_path, "cifar-100-python", {"train": trapped})
    with pytest.raises(InputError, match=r"train in .* is no CIFAR batch: its pickle asks for \w+\.eval") as refusal:
        load_images(str(folder))
    assert refusal.value.exit_code == 3
    assert not marker.exists()
    pickle.loads(trapped)
    assert marker.exists(), "the trap itself must work, or this test shows nothing"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no CIFAR batch"),
        (pickled(PIXELS)[:-100], "is no CIFAR batch: "),
        (pickle.dumps([1, 2]), "it has no array under 'data'"),
        (pickle.dumps({"labels": [1]}), "it has no array under 'data'"),
        (pickle.dumps({"data": PIXELS.astype(np.float32)}, 2), "it holds an array of type 'f4', not uint8"),
        (
            pickle.dumps({"data": PIXELS[:, :3000]}),
            r"its array has the shape \(10, 3000\) and 30000 bytes, not",
        ),
        (pickle.dumps({"data": PIXELS.ravel()}), r"its array has the shape \(30720,\)"),
        (pickle.dumps({"data": PIXELS, "labels": [1] * 9}), "it has 10 images and 9 labels; fetch CIFAR again"),
        (pickle.dumps({"data": PIXELS, "labels": [-1] * 10}), "its labels are no list of class numbers in 0..255"),
        (pickle.dumps({"data": PIXELS, "labels": [1 << 80] * 10}), "its labels are no list of class numbers"),
        (pickle.dumps({"data": PIXELS, "labels": [0.5] * 10}), "its labels are no list of class numbers"),
        (pickle.dumps({"data": PIXELS, "labels": "0123456789"}), "its labels are no list of class numbers"),
        (pickle.dumps({"data": np.zeros(3, dtype=object)}, 2), "it holds an array of type 'O8', not uint8"),
    ],
)
def test_damaged_pickles_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    folder = write_folder(tmp_path, "cifar-100-python", {"train": content})
    with pytest.raises(InputError, match=message) as refusal:
        load_images(str(folder))
    assert refusal.value.exit_code == 3


def test_a_binary_batch_of_part_of_a_record_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "cifar-100-binary", {"train.bin": binary(PIXELS, 2)[:-1]})
    message = "train.bin in .* is no CIFAR batch: 30739 bytes are not a whole number of 3074-byte records"
    with pytest.raises(InputError, match=message):
        load_images(str(folder))


def test_a_binary_edition_without_records_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "cifar-100-binary", {"train.bin": b""})
    with pytest.raises(InputError, match="there is no image in"):
        load_images(str(folder))


@pytest.mark.parametrize("write", [write_folder, write_tar])
def test_missing_batches_are_named(tmp_path: Path, write: Callable[[Path, str, dict[str, bytes]], Path]) -> None:
    files = dict(EDITIONS["cifar-10-batches-py"])
    del files["data_batch_1"], files["data_batch_4"]
    files["data_batch_2"] = b"damaged"
    path = write(tmp_path, "cifar-10-batches-py", files)
    with pytest.raises(InputError, match="lacks the training batches data_batch_1, data_batch_4: fetch or unpack"):
        load_images(str(path))


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_truncated_archive_is_refused(tmp_path: Path, mode: str) -> None:
    path = write_tar(tmp_path, "cifar-100-binary", EDITIONS["cifar-100-binary"], mode)
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(InputError, match=r"is truncated or damaged .*: fetch it again"):
        load_images(str(path))


def test_another_tar_is_refused(tmp_path: Path) -> None:
    path = write_tar(tmp_path, "photos", {"cat.jpg": b"meow"})
    with pytest.raises(InputError, match="is a tar without CIFAR's training batches: if it holds images, unpack it"):
        load_images(str(path))
