"""Pictures made smaller: what is kept, that nothing is aliased, and that every format is made so in one way."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffcov.errors import InputError, UsageError
from diffcov.store.datasets import CROPS, Resize, load_images

Box = tuple[int, int, int, int]


def wave(height: int, width: int, period: float, channels: int = 3) -> np.ndarray:
    """(H, W, C) uint8: a cosine across with so many pixels a period, phases by channel."""
    across = np.arange(width)[None, :, None] / period + np.arange(channels) / 7
    rows = np.broadcast_to(127.5 + 100 * np.cos(2 * np.pi * across), (height, width, channels))
    return rows.round().astype(np.uint8)


def folder(root: Path, *pictures: np.ndarray) -> Path:
    root.mkdir()
    for index, pixels in enumerate(pictures):
        Image.fromarray(pixels.squeeze()).save(root / f"{index}.png")
    return root


@pytest.mark.parametrize(
    ("crop", "height", "width", "box"),
    [
        ("center", 10, 10, (0, 0, 10, 10)),
        ("center", 10, 21, (5, 0, 15, 10)),
        ("center", 13, 10, (0, 1, 10, 11)),
        ("none", 13, 10, (0, 0, 10, 13)),
    ],
)
def test_which_part_is_kept(crop: str, height: int, width: int, box: Box) -> None:
    assert CROPS[crop](Image.new("L", (width, height)), 1) == box


def test_a_random_part_is_a_square_that_the_picture_itself_chooses(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    pictures = [draw.integers(0, 256, (40, 60, 3), dtype=np.uint8) for _ in range(200)]
    boxes = [CROPS["random"](Image.fromarray(picture), 8) for picture in pictures]
    assert boxes == [CROPS["random"](Image.fromarray(picture), 8) for picture in pictures]
    sides = [right - left for left, _, right, _ in boxes]
    assert sides == [bottom - top for _, top, _, bottom in boxes]
    assert (min(sides), max(sides)) == (32, 40)
    assert all(min(left, top) >= 0 and right <= 60 and bottom <= 40 for left, top, right, bottom in boxes)
    assert max(left for left, *_ in boxes) > 24
    assert len({top for _, top, *_ in boxes}) == 9
    one_way = load_images(str(folder(tmp_path / "a", *pictures[:5])), resize=Resize(8, "random")).examples.images
    other = load_images(str(folder(tmp_path / "b", *pictures[4::-1])), resize=Resize(8, "random")).examples.images
    assert np.array_equal(one_way, other.flip(0))
    centred = load_images(str(tmp_path / "a"), resize=Resize(8)).examples.images
    assert not np.array_equal(one_way, centred)


def test_a_random_part_is_never_smaller_than_the_size() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (10, 30), dtype=np.uint8))
    left, top, right, bottom = CROPS["random"](noise, 10)
    assert (top, bottom, right - left) == (0, 10, 10)


@pytest.mark.parametrize("crop", CROPS)
def test_a_constant_stays_constant(crop: str) -> None:
    plain = np.full((2, 3, 37, 50), 77, dtype=np.uint8)
    assert (Resize(8, crop).array(plain, "x") == 77).all()


def test_what_has_the_size_is_left_alone() -> None:
    draw = np.random.default_rng(0).integers(0, 256, (4, 3, 8, 8), dtype=np.uint8)
    assert Resize(8).array(draw, "x") is draw


def test_frequencies_that_do_not_fit_vanish_instead_of_folding() -> None:
    """3.2 pixels a period is beyond what every eighth pixel can show: those pixels alone show a false wave of 190."""
    picture = wave(64, 64, 3.2)
    false = picture[::8, ::8].astype(int)
    small = Resize(8).array(picture.transpose(2, 0, 1)[None], "x")[0].astype(int)
    assert np.ptp(false) > 100
    assert np.ptp(small[:, 2:-2, 2:-2], axis=(1, 2)).max() <= 4


def test_frequencies_that_fit_stay() -> None:
    """A cosine of 32 pixels a period becomes one of 8, sampled at the middles of squares of 4."""
    small = Resize(16).array(wave(64, 64, 32.0, 1).transpose(2, 0, 1)[None], "x")[0, 0].astype(float)
    wanted = 127.5 + 100 * np.cos(2 * np.pi * (np.arange(16) * 4 + 1.5) / 32)
    assert np.abs(small[:, 2:-2] - wanted[2:-2]).max() < 3


def test_the_middle_of_a_wide_picture_is_what_its_square_gives() -> None:
    """The filter sees nothing outside the crop."""
    draw = np.random.default_rng(1).integers(0, 256, (1, 3, 24, 60), dtype=np.uint8)
    assert np.array_equal(Resize(6).array(draw, "x"), Resize(6).array(draw[..., 18:42], "x"))


def test_every_format_gives_the_same_images_and_digest(tmp_path: Path) -> None:
    pictures = np.random.default_rng(2).integers(0, 256, (5, 30, 20, 3), dtype=np.uint8)
    np.save(tmp_path / "a.npy", pictures)
    np.savez(tmp_path / "a.npz", arr_0=pictures)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for index, pixels in enumerate(pictures):
            with io.BytesIO() as file:
                Image.fromarray(pixels).save(file, "PNG")
                archive.writestr(f"{index}.png", file.getvalue())
    sources = [tmp_path / "a.npy", tmp_path / "a.npz", tmp_path / "a.zip", folder(tmp_path / "a", *pictures)]
    found = [load_images(str(source), resize=Resize(10)) for source in sources]
    assert {tuple(one.images.shape) for one in found} == {(5, 3, 10, 10)}
    assert len({one.digest() for one in found}) == 1


def test_several_sizes_and_modes_become_one_set(tmp_path: Path) -> None:
    source = folder(tmp_path / "a", wave(20, 40, 9), wave(33, 17, 9, 1), wave(16, 16, 9))
    loaded = load_images(str(source), resize=Resize(16))
    assert tuple(loaded.images.shape) == (3, 3, 16, 16)
    assert np.array_equal(loaded.images[2].numpy(), wave(16, 16, 9).transpose(2, 0, 1))
    assert loaded.provenance(None).items() >= {"size": 16, "crop": "center"}.items()
    assert Resize.from_dict(loaded.provenance(None)) == Resize(16)


def test_images_as_stored_say_nothing_of_a_size(tmp_path: Path) -> None:
    assert load_images("digits").provenance(None).keys() == {"source", "split", "limit", "count", "digest"}


def test_grey_levels_stay_those_of_the_data() -> None:
    """Lanczos overshoots at edges, and the digits end at 16."""
    loaded = load_images("digits", resize=Resize(5))
    assert (loaded.description.levels, int(loaded.images.max())) == (17, 16)


def test_transparent_pixels_do_not_bleed(tmp_path: Path) -> None:
    """Colour counts by its opacity: what is invisible and white does not brighten what is black."""
    pixels = np.zeros((8, 8, 4), dtype=np.uint8)
    pixels[:, 4:] = 255, 255, 255, 0
    pixels[:, :4, 3] = 255
    small = load_images(str(folder(tmp_path / "a", pixels)), resize=Resize(2)).images[0]
    assert small[:3].max() == 0


def test_nothing_is_enlarged(tmp_path: Path) -> None:
    source = folder(tmp_path / "a", wave(20, 20, 9), wave(12, 30, 9))
    with pytest.raises(
        InputError, match=r"1\.png in .* is 12x30 \(height x width\), and --size 16 would enlarge it: choose --size 12"
    ):
        load_images(str(source), resize=Resize(16))
    with pytest.raises(InputError, match=r"an image in the data is 8x8 .* --size 9 would enlarge it"):
        load_images("digits", resize=Resize(9))


@pytest.mark.parametrize(
    ("size", "crop", "message"), [(0, "center", "--size must be at least 1"), (8, "left", "--crop must be one of")]
)
def test_refusals(size: int, crop: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Resize(size, crop)
