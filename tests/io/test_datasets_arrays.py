"""idx, npy and npz: small files written by hand, read back pixel by pixel."""

from __future__ import annotations

import gzip
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from diffcov.data import DataDescription
from diffcov.errors import InputError
from diffcov.io.datasets import load_images
from diffcov.io.datasets.subset import kept_indices

# Neither square nor symmetric, every value its own: a swap of axes or channels cannot go unseen.
GREY = np.arange(5 * 3 * 7, dtype=np.uint8).reshape(5, 3, 7)
COLOUR = (np.arange(5 * 5 * 3 * 7) * 97 % 251).astype(np.uint8).reshape(5, 5, 3, 7)[:, :3]


def idx_bytes(images: np.ndarray) -> bytes:
    return struct.pack(">4B3I", 0, 0, 8, 3, *images.shape) + images.tobytes()


def refused(path: Path, message: str) -> None:
    with pytest.raises(InputError, match=message) as refusal:
        load_images(str(path))
    assert str(path) in str(refusal.value)
    assert refusal.value.exit_code == 3


# --- idx


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
    (tmp_path / f"train-labels-idx1-ubyte{suffix}").write_bytes(pack(struct.pack(">4BI", 0, 0, 8, 1, 5) + bytes(5)))
    assert np.array_equal(load_images(str(tmp_path)).images.numpy()[:, 0], GREY)


def test_idx_limit(tmp_path: Path) -> None:
    path = tmp_path / "images"
    path.write_bytes(idx_bytes(GREY))
    assert np.array_equal(load_images(str(path), limit=2).images.numpy()[:, 0], GREY[kept_indices(5, 2)])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (struct.pack(">4BI", 0, 0, 8, 1, 5) + bytes(5), "holds labels, not images: name the file of images"),
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


# --- npy and npz


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
