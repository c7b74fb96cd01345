"""What folders, zips and archives say of themselves: splits, classes by name, and what is left out or not known."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from diffcov.errors import InputError
from diffcov.store.datasets import has_test_split, load_images
from diffcov.store.datasets.walk import files_below
from oracles.picture_trees import Write, both, greys, labels, picture, write_folder, write_zip


def tree(names: Iterable[str]) -> dict[str, bytes]:
    """Pictures whose grey is their place among the names."""
    return {name: picture(place) for place, name in enumerate(names)}


def in_splits(splits: Iterable[str], root: str = "") -> list[str]:
    return [f"{root}{split}/{label}/{n}.png" for split in splits for label in ("cat", "dog") for n in range(2)]


# --- splits


@both
@pytest.mark.parametrize("root", ["", "pets/", "a/b/"], ids=["bare", "wrapped", "wrapped twice"])
@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_train_val_and_test(tmp_path: Path, write: Write, root: str, val: str) -> None:
    path = str(write(tmp_path, tree(in_splits(["train", val, "test"], root))))
    found = {split: load_images(path, split=split) for split in ("train", "val", "test")}
    assert [one.images[:, 0, 0, 0].tolist() for one in found.values()] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    for split, one in found.items():
        assert one.split == split
        assert one.layout.splits == {"train": 4, "val": 4, "test": 4}
        assert one.layout.class_names == ("cat", "dog")
        assert one.layout.labels_from == "sub-folders"
        assert one.labels is not None
        assert one.labels.tolist() == [0, 0, 1, 1]
    assert list(found["train"].layout.splits) == ["train", "val", "test"]


@both
def test_val_stands_for_test_where_there_is_no_test(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path, tree(in_splits(["train", "valid"])))
    assert has_test_split(str(path))
    held_out = load_images(str(path), split="test")
    assert (held_out.split, held_out.images[:, 0, 0, 0].tolist()) == ("val", [4, 5, 6, 7])
    assert greys(path) == [0, 1, 2, 3]


@both
def test_splits_inside_each_class(tmp_path: Path, write: Write) -> None:
    names = [f"{label}/{split}/{n}.png" for label in ("cat", "dog") for split in ("test", "train") for n in range(2)]
    path = write(tmp_path, tree(names))
    assert (greys(path), greys(path, "test")) == ([2, 3, 6, 7], [0, 1, 4, 5])
    assert labels(path) == labels(path, "test") == [0, 0, 1, 1]


@both
@pytest.mark.parametrize("other", ["0.png", "extra/0.png"], ids=["a picture", "a folder"])
def test_what_lies_beside_splits_is_refused_by_name(tmp_path: Path, write: Write, other: str) -> None:
    path = write(tmp_path, tree(["train/0.png", "test/0.png", other]))
    message = f"holds test, train, which are splits, and beside them {other.split('/')[0]}: .*name the folder"
    for ask in (lambda: load_images(str(path)), lambda: has_test_split(str(path))):
        with pytest.raises(InputError, match=message) as refusal:
            ask()
        assert refusal.value.exit_code == 3


@both
def test_held_out_images_alone_are_refused(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path, tree(["val/0.png", "test/0.png"]))
    with pytest.raises(
        InputError, match="holds test, val, which is what held-out images are called, and none to train"
    ):
        load_images(str(path))


@both
def test_a_lone_folder_of_held_out_images_is_warned_of(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path, tree(["data/test/a/0.png", "data/test/b/0.png"]))
    found = load_images(str(path))
    assert found.layout.class_names == ("a", "b")
    assert found.layout.warnings == (
        "all images lie in test, which is what held-out images are called, and they are taken to train on",
    )
    assert load_images(str(write(tmp_path / "x", tree(["train/a/0.png", "train/b/0.png"])))).layout.warnings == ()


@both
def test_a_class_may_be_called_train_and_one_called_test_is_warned_of(tmp_path: Path, write: Write) -> None:
    vehicles = load_images(str(write(tmp_path, tree(["car/0.png", "plane/0.png", "train/0.png"]))))
    assert vehicles.layout.class_names == ("car", "plane", "train")
    assert vehicles.layout.warnings == ()
    odd = load_images(str(write(tmp_path / "odd", tree(["car/0.png", "test/0.png"]))))
    assert odd.layout.warnings == ("the folder test is taken for a class; held-out images are called so",)


# --- classes


@both
def test_a_folder_round_classes_is_none(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path, tree(["all/a/0.png", "all/b/0.png"]))
    assert labels(path) == [0, 1]
    assert load_images(str(path)).layout.class_names == ("a", "b")


@both
def test_pictures_outside_of_classes_are_counted(tmp_path: Path, write: Write) -> None:
    found = load_images(str(write(tmp_path, tree(["a/0.png", "b/0.png", "0.png"]))))
    assert found.labels is None
    assert found.layout.remarks == ("1 picture(s) lie in no sub-folder, so sub-folders are not taken for classes",)


@both
@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("{folder:05d}/img{number:08d}.png", True),
        ("{start:05d}/{number:05d}.png", True),
        ("{folder:05d}/{place}.png", False),
        ("{folder}/{number:03d}.png", False),
        ("class{folder:05d}/{number:03d}.png", False),
    ],
    ids=["EDM", "FFHQ", "numbers begin anew", "short names", "words"],
)
def test_blocks_of_a_running_number_are_no_classes(tmp_path: Path, write: Write, name: str, blocks: bool) -> None:
    names = [name.format(folder=i // 4, start=i // 4 * 4, number=i, place=i % 4) for i in range(12)]
    found = load_images(str(write(tmp_path, tree(names))))
    assert found.classes == (0 if blocks else 3)
    said = ("the 3 sub-folders are blocks of a running number, and no classes",)
    assert found.layout.remarks == (said if blocks else ())
    assert found.images[:, 0, 0, 0].tolist() == list(range(12))


@both
@pytest.mark.parametrize("root", ["", "mine/"], ids=["bare", "wrapped"])
def test_a_dataset_json_lies_at_the_top_or_beside_what_it_tells_of(tmp_path: Path, write: Write, root: str) -> None:
    names = [f"{i // 2:05d}/img{i:08d}.png" for i in range(4)]
    for told in ([[name, i % 2] for i, name in enumerate(names)], None):
        files = tree(f"{root}{name}" for name in names)
        files[f"{root}dataset.json"] = json.dumps({"labels": told}).encode()
        found = load_images(str(write(tmp_path / str(told is None), files)))
        assert found.classes == (2 if told else 0)
        assert found.layout.labels_from == (f"{root}dataset.json" if told else None)
        assert found.layout.remarks == (() if told else (f"{root}dataset.json says that there are no classes",))


# --- zips of other systems


def test_backslashes_part_the_folders_of_a_zip(tmp_path: Path) -> None:
    files = {name.replace("/", "\\"): content for name, content in tree(in_splits(["train", "test"], "pets/")).items()}
    files |= {"__MACOSX\\pets\\._0.png": b"", "pets\\.DS_Store": b"", "pets\\Thumbs.db": b""}
    path = write_zip(tmp_path, files)
    assert (labels(path), labels(path, "test")) == ([0, 0, 1, 1], [0, 0, 1, 1])
    assert greys(path, "test") == [4, 5, 6, 7]
    told = [[f"a\\{n}.png", n] for n in range(2)]
    listed = {f"a\\{n}.png": picture(n) for n in range(2)} | {"dataset.json": json.dumps({"labels": told}).encode()}
    assert labels(write_zip(tmp_path / "..", listed)) == [0, 1]


# --- links


def test_each_file_counts_once_and_loops_end(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, tree(["a/0.png", "a/1.png", "b/2.png"]))
    outside = write_folder(tmp_path / "outside", {"3.png": picture(3)})
    (folder / "a" / "back").symlink_to("..")
    (folder / "again").symlink_to(".")
    (folder / "A").symlink_to("a")
    (folder / "b" / "copy.png").symlink_to("2.png")
    (folder / "more").symlink_to(outside)
    (folder / "z.png").symlink_to(outside / "3.png")
    assert greys(folder) == [0, 1, 2, 3]
    walk = files_below(folder)
    assert sorted(walk.names) == ["a/0.png", "a/1.png", "b/2.png", "more/3.png"]
    assert sorted(walk.left_out) == ["A", "a/back", "again", "b/copy.png", "z.png"]
    remark = "5 link(s) to what is there already count once (A)"
    assert load_images(str(folder)).layout.remarks[0] == remark


def test_classes_made_of_links_to_pictures_elsewhere(tmp_path: Path) -> None:
    pool = write_folder(tmp_path, tree([f"{n}.png" for n in range(4)]))
    for n in range(4):
        link = tmp_path / "set" / ("even", "odd")[n % 2] / f"{n}.png"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(pool / f"{n}.png")
    assert labels(tmp_path / "set") == [0, 0, 1, 1]
    assert greys(tmp_path / "set") == [0, 2, 1, 3]


def test_a_link_to_nothing_and_a_pipe_are_refused_by_name(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, {"0.png": picture(0)})
    (folder / "gone.png").symlink_to("nowhere.png")
    with pytest.raises(InputError, match=r"cannot read gone.png in .*No such file.*replace or remove it"):
        load_images(str(folder))
    (folder / "gone.png").unlink()
    os.mkfifo(folder / "pipe.png")
    with pytest.raises(InputError, match=r"cannot read pipe.png in .*it is no ordinary file.*replace or remove it"):
        load_images(str(folder))


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    for label in (b"\xe0", b"\xe9"):
        for n in range(2):
            path = Path(os.fsdecode(os.fsencode(folder) + b"/" + label + b"/%d\xff.png" % n))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(n))
    found = load_images(str(folder))
    assert found.classes == 2
    assert (found.layout.class_names or ("",))[0] == "\udce0"
    assert json.dumps(found.provenance(None, labelled=True)).isascii()


# --- arrays and archives


def test_splits_of_an_npz_with_their_counts(tmp_path: Path) -> None:
    arrays = {f"{part}_images": np.full((n, 2, 2), n, np.uint8) for part, n in (("train", 5), ("val", 2), ("test", 3))}
    classes = {f"{part}_labels": np.arange(n)[:, None] % 2 for part, n in (("train", 5), ("val", 2), ("test", 3))}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "medmnist.npz", **arrays, **classes)
        for split, count in (("train", 5), ("val", 2), ("test", 3)):
            found = load_images(str(tmp_path / "medmnist.npz"), split=split)
            assert found.images.unique().tolist() == [count]
            assert found.layout.splits == {"train": 5, "val": 2, "test": 3}
            assert found.layout.labels_from == f"the array {split}_labels"


def test_several_labels_an_image_are_left_out_and_said(tmp_path: Path) -> None:
    np.savez(tmp_path / "chest.npz", train_images=np.zeros((3, 2, 2), np.uint8), train_labels=np.zeros((3, 14), int))
    found = load_images(str(tmp_path / "chest.npz"))
    assert found.labels is None
    assert found.layout.remarks == (
        "the array train_labels (int64, (3, 14)) has no class for each image, and is left out",
    )


@pytest.mark.parametrize("sign", ["-", "."])
@pytest.mark.parametrize("label_sign", ["-", "."])
def test_mnist_with_a_dot(tmp_path: Path, sign: str, label_sign: str) -> None:
    for part, count in (("train", 4), ("t10k", 2)):
        shape = b"".join(n.to_bytes(4, "big") for n in (count, 2, 2))
        (tmp_path / f"{part}-images{sign}idx3-ubyte").write_bytes(b"\0\0\x08\x03" + shape + bytes(4 * count))
        told = count.to_bytes(4, "big") + bytes(range(count))
        (tmp_path / f"{part}-labels{label_sign}idx1-ubyte").write_bytes(b"\0\0\x08\x01" + told)
    for split, count in (("train", 4), ("test", 2)):
        found = load_images(str(tmp_path), split=split)
        assert found.labels is not None
        assert found.labels.tolist() == list(range(count))
        assert found.layout.splits == {"train": 4, "test": 2}
    assert load_images(str(tmp_path)).layout.labels_from == f"train-labels{label_sign}idx1-ubyte"
    alone = load_images(str(tmp_path / f"train-images{sign}idx3-ubyte"))
    assert (alone.classes, alone.layout.splits) == (4, {"train": 4})


def test_names_of_cifar_s_classes(tmp_path: Path) -> None:
    record = bytes([1]) + bytes(3072)
    for name in [*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin"]:
        (tmp_path / name).write_bytes(record)
    (tmp_path / "batches.meta.txt").write_text("airplane\ncar\n\n", encoding="utf-8")
    found = load_images(str(tmp_path))
    assert found.layout.class_names == ("airplane", "car")
    assert found.layout.labels_from == "data_batch_1.bin and on"
    assert found.layout.splits == {"train": 5, "test": None}


@pytest.mark.parametrize(
    ("meta", "names"),
    [
        (pickle.dumps({b"label_names": [b"airplane", b"car"]}), ("airplane", "car")),
        (pickle.dumps({"fine_label_names": ["apple"], "coarse_label_names": ["fruit"]}), ("apple",)),
        (pickle.dumps(os.getcwd), ()),
        (b"damaged", ()),
        (pickle.dumps([1]), ()),
    ],
)
def test_pickled_names_of_classes_run_nothing(meta: bytes, names: tuple[str, ...]) -> None:
    from diffcov.store.datasets.cifar_pickle import pickled_names

    assert pickled_names(meta) == names


def test_class_names_belong_to_what_is_remembered_of_labelled_images(tmp_path: Path) -> None:
    found = load_images(str(write_folder(tmp_path, tree(["cat/0.png", "dog/0.png"]))))
    assert found.provenance(None, labelled=True)["class_names"] == ["cat", "dog"]
    assert "class_names" not in found.provenance(None)


def test_pictures_of_the_same_tree_keep_their_digest(tmp_path: Path) -> None:
    """The bytes that an earlier version hashed: golden, since runs remember them."""
    files = {f"{label}/{n}.png": picture(20 * n + ord(label)) for label in "ab" for n in range(3)}
    path = write_folder(tmp_path, files)
    found = load_images(str(path))
    assert found.digest()[:16] == "911abfb134d592c1"
    assert found.digest(labelled=True)[:16] == "4ec0e4a7c5fbf1ab"
