"""Folders of Hugging Face's datasets: real ones, which the library wrote, and the ways in which others differ.

``assets/hugging-face``: datasets 5.2.0, ``save_to_disk`` of a DatasetDict (``saved``) and ``to_parquet`` with row
groups of four (``hub/data``). The pictures of train are ten of 8x8 from ``RandomState(0)``, those of test four from
``RandomState(1)``; then as many classes, drawn from the first three of a, b, c, d.
"""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from diffcov.errors import InputError
from diffcov.store.datasets import has_test_split, load_images

REAL = Path(__file__).parents[1] / "assets" / "hugging-face"
SAVED, HUB = REAL / "saved", REAL / "hub"
PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def made(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The images and classes that the real folders hold."""
    draw = np.random.RandomState(seed)
    images = [draw.randint(0, 256, (8, 8), dtype=np.uint8) for _ in range(count)]
    return torch.from_numpy(np.stack(images))[:, None], torch.from_numpy(draw.randint(0, 3, count))


def png(pixels: Any) -> bytes:
    """A picture's file."""
    out = io.BytesIO()
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(out, format="PNG")
    return out.getvalue()


def table(count: int, name: str = "image", **columns: Any) -> pa.Table:
    """``count`` pictures of 2x2, each of its own grey, and other columns."""
    cells = [{"bytes": png(np.full((2, 2), 10 * number)), "path": None} for number in range(count)]
    return pa.table({name: pa.array(cells, PICTURE), **columns})


def written(path: Path, content: pa.Table) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(content, path, row_group_size=3)
    return path


@pytest.mark.parametrize("folder", [SAVED, HUB])
@pytest.mark.parametrize(("split", "seed", "count"), [("train", 0, 10), ("test", 1, 4)])
def test_real_folders(folder: Path, split: str, seed: int, count: int) -> None:
    images, labels = made(seed, count)
    assert has_test_split(str(folder))
    found = load_images(str(folder), split=split)
    assert torch.equal(found.images, images)
    assert found.labels is not None
    assert torch.equal(found.labels, labels)
    assert found.classes == 4  # d has a name and no picture


@pytest.mark.parametrize(
    "file",
    [SAVED / "train", SAVED / "train" / "data-00000-of-00001.arrow", HUB / "data" / "train-00000-of-00001.parquet"],
)
def test_one_split_or_one_file(file: Path) -> None:
    found = load_images(str(file))
    assert torch.equal(found.images, made(0, 10)[0])
    assert not has_test_split(str(file))


@pytest.mark.parametrize("folder", [SAVED, HUB])
@pytest.mark.parametrize("limit", [1, 3, 9])
def test_a_limit_takes_rows_from_every_block(folder: Path, limit: int) -> None:
    every, some = load_images(str(folder)), load_images(str(folder), limit=limit)
    places = [int((every.images == one).flatten(1).all(1).nonzero()) for one in some.images]
    assert places == sorted(set(places))
    assert len(places) == limit
    assert every.labels is not None
    assert some.labels is not None
    assert torch.equal(some.labels, every.labels[places])


def test_shards_stand_in_the_order_of_their_names(tmp_path: Path) -> None:
    whole = table(7, label=pa.array(range(7)))
    for number, rows in enumerate((whole.slice(0, 4), whole.slice(4))):
        written(tmp_path / "data" / f"train-0000{number}-of-00002.parquet", rows)
    found = load_images(str(tmp_path))
    assert found.images[:, 0, 0, 0].tolist() == [0, 10, 20, 30, 40, 50, 60]
    assert found.labels is not None
    assert found.labels.tolist() == list(range(7))
    assert found.classes == 7


@pytest.mark.parametrize(
    ("names", "train", "test"),
    [
        (["train-0.parquet", "test-0.parquet", "validation-0.parquet"], 1, 1),
        (["train-0.parquet", "validation-0.parquet"], 1, 1),
        (["default/train/0000.parquet", "default/test/0000.parquet", "default/test/0001.parquet"], 1, 2),
        (["latest.parquet"], 1, None),
        (["test.parquet"], 1, None),
        (["mnist-train.arrow", "mnist-test.arrow"], 1, 1),
    ],
)
def test_splits_are_said_by_names(tmp_path: Path, names: list[str], train: int, test: int | None) -> None:
    for name in names:
        written(tmp_path / name, table(1))
        if name.endswith("arrow"):
            with pa.ipc.new_stream(str(tmp_path / name), table(1).schema) as stream:
                stream.write_table(table(1))
    assert load_images(str(tmp_path)).count == train
    assert has_test_split(str(tmp_path)) == (test is not None)
    if test is not None:
        assert load_images(str(tmp_path), split="test").count == test


def test_caches_beside_a_saved_set_are_none_of_it(tmp_path: Path) -> None:
    shutil.copytree(SAVED, tmp_path / "saved")
    shutil.copy(SAVED / "test" / "data-00000-of-00001.arrow", tmp_path / "saved" / "train" / "more.arrow")
    assert load_images(str(tmp_path / "saved")).count == 10  # state.json lists one file
    (tmp_path / "saved" / "train" / "state.json").unlink()
    (tmp_path / "saved" / "train" / "more.arrow").rename(tmp_path / "saved" / "train" / "cache-1a2b.arrow")
    assert load_images(str(tmp_path / "saved")).count == 10


def test_chosen_rows_are_refused(tmp_path: Path) -> None:
    shutil.copytree(SAVED / "train", tmp_path / "saved")
    state = json.loads((tmp_path / "saved" / "state.json").read_text())
    (tmp_path / "saved" / "state.json").write_text(
        json.dumps({**state, "_indices_data_files": [{"filename": "i.arrow"}]})
    )
    with pytest.raises(InputError, match=r"says that rows were chosen and not copied; save the set after flatten_ind"):
        load_images(str(tmp_path / "saved"))


def test_the_arrow_format_that_can_be_sought(tmp_path: Path) -> None:
    with pa.ipc.new_file(str(tmp_path / "a.arrow"), table(3).schema) as file:
        file.write_table(table(3), max_chunksize=2)
    assert load_images(str(tmp_path)).images[:, 0, 0, 0].tolist() == [0, 10, 20]


def test_columns_of_other_names(tmp_path: Path) -> None:
    """One column of pictures is taken whatever it is called, of several the one of a usual name."""
    content = table(
        3, "img", fine_label=pa.array([2, 0, 1]), coarse_label=pa.array([0, 0, 1]), text=pa.array(["a"] * 3)
    )
    found = load_images(str(written(tmp_path / "a.parquet", content)))
    assert found.labels is not None
    assert found.labels.tolist() == [2, 0, 1]
    assert load_images(str(written(tmp_path / "b.parquet", table(2, "png")))).labels is None
    both = table(2).append_column("mask", table(2)["image"])
    assert load_images(str(written(tmp_path / "c.parquet", both))).count == 2
    named = both.rename_columns(["left", "right"])
    with pytest.raises(
        InputError, match=r"holds several columns of pictures \(found: left \(struct<bytes.*called image"
    ):
        load_images(str(written(tmp_path / "d.parquet", named)))
    with pytest.raises(InputError, match=r"holds no column of pictures \(found: n \(int64\)\)"):
        load_images(str(written(tmp_path / "e.parquet", pa.table({"n": [1, 2]}))))


def test_classes_that_are_not_published(tmp_path: Path) -> None:
    hidden = table(2, label=pa.array([-1, -1]))
    assert load_images(str(written(tmp_path / "hidden.parquet", hidden))).labels is None
    empty = table(2, label=pa.array([None, None], pa.int64()))
    assert load_images(str(written(tmp_path / "empty.parquet", empty))).labels is None
    some = table(3, label=pa.array([1, None, 0]))
    with pytest.raises(
        InputError, match=r"1 of 3 pictures in .* have no class in the column label, and the others have"
    ):
        load_images(str(written(tmp_path / "some.parquet", some)))


def test_pictures_that_are_not_inside(tmp_path: Path) -> None:
    outside = pa.table({"image": pa.array([{"bytes": None, "path": "cat.png"}], PICTURE)})
    with pytest.raises(
        InputError, match=r"row 0 of .* names the file cat.png and does not hold it; write the set again"
    ):
        load_images(str(written(tmp_path / "a.parquet", outside)))
    nothing = pa.table({"image": pa.array([None], PICTURE)})
    with pytest.raises(InputError, match=r"row 0 of .* is empty"):
        load_images(str(written(tmp_path / "b.parquet", nothing)))
    noise = pa.table({"image": pa.array([{"bytes": b"no picture", "path": None}], PICTURE)})
    with pytest.raises(InputError, match=r"cannot read row 0 in .* \(not an image\)"):
        load_images(str(written(tmp_path / "c.parquet", noise)))


def test_several_sets_in_one_folder(tmp_path: Path) -> None:
    for name in ("cifar10", "cifar100"):
        written(tmp_path / name / "train-00000.parquet", table(2))
    with pytest.raises(
        InputError, match=r"holds several data sets \(cifar10, cifar100\); give the folder of one of them"
    ):
        load_images(str(tmp_path))
    assert load_images(str(tmp_path / "cifar10")).count == 2
    written(tmp_path / "cifar10" / "train-00001.parquet", table(2, "other"))
    with pytest.raises(InputError, match=r"has no column image as train-00000\.parquet has"):
        load_images(str(tmp_path / "cifar10"))


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_damage_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PAR1" + bytes(40))
    with pytest.raises(InputError, match=rf"{name} is truncated or damaged \(.*\): fetch it again"):
        load_images(str(tmp_path))
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
    with pytest.raises(InputError, match=f"{name} is a Git-LFS pointer, not the file itself"):
        load_images(str(tmp_path))


def test_a_block_that_is_cut_off_is_named(tmp_path: Path) -> None:
    """The end of a parquet file, which says where all lies, is whole; the rows are not."""
    content = bytearray(written(tmp_path / "a.parquet", table(6)).read_bytes())
    content[4:400] = bytes(396)
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.parquet is truncated or damaged|cannot read row"):
        load_images(str(tmp_path))


def test_without_pyarrow_it_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"reading one needs pyarrow .*; install it with: pip install pyarrow"):
        load_images(str(HUB))


def test_tables_beside_pictures_leave_a_folder_of_pictures(tmp_path: Path) -> None:
    written(tmp_path / "metadata.parquet", pa.table({"file_name": ["a.png"]}))
    (tmp_path / "a.png").write_bytes(png(np.full((2, 3), 7)))
    assert load_images(str(tmp_path)).images.shape == (1, 1, 2, 3)


def test_a_folder_of_caches_alone(tmp_path: Path) -> None:
    (tmp_path / "cache-1.arrow").write_bytes(b"")
    with pytest.raises(InputError, match="there is no image in"):
        load_images(str(tmp_path))
