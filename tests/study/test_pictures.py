"""What is told of a set of images, and how pictures are made as a command and the mean's own say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diffcov.errors import InputError
from diffcov.store.datasets import Resize, Room, load_images
from diffcov.study.pictures import described, resize_asked, resize_like, resize_told, shortened, tell_data
from diffcov.study.requests.pictures import PictureChoice
from oracles.listening import Recorder
from oracles.picture_trees import picture, write_folder


def test_digits_on_one_line() -> None:
    assert described(load_images("digits", 10)) == (
        "data: digits: train 1500, test 297 images of 8x8, 1 channel(s), 17 grey levels; 10 classes (0 to 9) from the "
        "package; test is held out, and never trained on"
    )


def test_folders_on_one_line(tmp_path: Path) -> None:
    names = [f"{split}/{label}/0.png" for split in ("train", "val", "test") for label in ("cat", "dog\n")]
    path = write_folder(tmp_path, {name: picture(0) for name in names})
    assert described(load_images(str(path))) == (
        f"data: {path}: train 2, val 2, test 2 images of 2x3, 1 channel(s), 256 grey levels; 2 classes (cat, dog\\n) "
        "from sub-folders; val and test are held out, and never trained on"
    )
    flat = write_folder(tmp_path / "flat", {"0.png": picture(0)})
    told = described(load_images(str(flat)))
    assert told == f"data: {flat}: 1 images of 2x3, 1 channel(s), 256 grey levels; no classes"


def test_everything_is_told_once(tmp_path: Path) -> None:
    files = {f"{label}/{n}.png": picture(n) for label in ("a", "test") for n in range(3)}
    path = write_folder(tmp_path, files)
    (path / "again").symlink_to("a")
    say, images = Recorder(), load_images(str(path), limit=2)
    for _ in range(3):
        tell_data(images, say)
    assert say.notes == [
        described(images),
        f"{path}: 1 link(s) to what is there already count once (again)",
        "2 of these 6 are taken to train and measure on, always the same ones",
    ]
    assert say.warnings == [f"{path}: the folder test is taken for a class; held-out images are called so"]


def test_images_that_stay_on_disk_are_told_so(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 8, 8), np.uint8))
    say = Recorder()
    tell_data(load_images(str(tmp_path / "a.npy"), room=Room(memory=0)), say)
    assert say.said("of images stay on disk")


def test_many_names_are_shortened() -> None:
    assert shortened(["cat", "dog"]) == "cat, dog"
    found = shortened([f"class {n}" for n in range(1000)])
    assert found.startswith("class 0, class 1, ")
    assert found.endswith(", …")
    assert len(found) < 100
    assert shortened(["x" * 100]) == "x" * 23 + "…"


# --- alpha, as size and crop


OWN = {"size": 8, "crop": "none", "drop_alpha": True}


def test_what_is_asked_alone() -> None:
    assert resize_asked(PictureChoice()) is None
    assert resize_asked(PictureChoice(drop_alpha=True)) == Resize(drop_alpha=True)
    assert resize_asked(PictureChoice(size=4, drop_alpha=True)) == Resize(4, "center", True)
    assert resize_told(PictureChoice(drop_alpha=True)) == {"drop_alpha": True}
    assert resize_told(PictureChoice()) == {}


@pytest.mark.parametrize("resize", [Resize(4), Resize(4, "none", True), Resize(drop_alpha=True)])
def test_it_is_remembered(resize: Resize) -> None:
    assert Resize.from_dict({"source": "x", **resize.as_dict()}) == resize


def test_the_mean_s_own_images_are_made_as_they_were() -> None:
    own = Resize(8, "none", True)
    for choice in (PictureChoice(), PictureChoice(drop_alpha=True), PictureChoice(size=8)):
        assert resize_like(OWN, choice, others=False) == own
    assert resize_like(OWN, PictureChoice(), others=True) == own
    assert resize_like(OWN, PictureChoice(size=4), others=True) == Resize(4, "center", True)
    assert resize_like(None, PictureChoice(drop_alpha=True), others=False) == Resize(drop_alpha=True)
    with pytest.raises(InputError) as refusal:
        resize_like({"source": "x"}, PictureChoice(drop_alpha=True), others=False)
    assert str(refusal.value) == (
        "--drop-alpha was asked for, and the mean was trained on images as they are, which is remembered: leave "
        "--size, --crop and --drop-alpha out, or give other images with --data"
    )
