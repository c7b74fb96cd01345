"""Folders and zips of pictures: every extension, every mode, and what cannot become one array."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from diffcov.data import DataDescription
from diffcov.errors import InputError
from diffcov.store.datasets import Resize, Room, load_images
from diffcov.store.datasets.pictures import EXTENSIONS
from diffcov.store.datasets.subset import kept_indices

# Neither square nor symmetric, every channel its own: a swap of axes or channels cannot go unseen.
HEIGHT, WIDTH = 3, 7
COLOUR = (np.arange(HEIGHT * WIDTH * 4) * 97 % 251).astype(np.uint8).reshape(HEIGHT, WIDTH, 4)
GREY = COLOUR[..., 1]
LOSSLESS = {"png": "PNG", "bmp": "BMP", "tif": "TIFF", "tiff": "TIFF", "ppm": "PPM"}


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    with io.BytesIO() as file:
        image.save(file, kind, **options)
        return file.getvalue()


def colour(channels: int = 3, shift: int = 0) -> Image.Image:
    return Image.fromarray(COLOUR[..., :channels] + np.uint8(shift))


def write_folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = root / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (root / "pictures").mkdir(exist_ok=True)
    return root / "pictures"


def write_zip(root: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(root / "pictures.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return root / "pictures.zip"


Write = Callable[[Path, dict[str, bytes]], Path]
both = pytest.mark.parametrize("write", [write_folder, write_zip])


def refused(path: Path, message: str) -> None:
    with pytest.raises(InputError, match=message) as refusal:
        load_images(str(path))
    assert str(path) in str(refusal.value)
    assert refusal.value.exit_code == 3


@both
@pytest.mark.parametrize("extension", [*LOSSLESS, "PNG", "webp"])
def test_lossless_pictures_are_exact(tmp_path: Path, write: Write, extension: str) -> None:
    kind = LOSSLESS.get(extension.lower(), "WEBP")
    options = {"lossless": True} if kind == "WEBP" else {}
    loaded = load_images(str(write(tmp_path, {f"a.{extension}": encode(colour(), kind, **options)})))
    assert loaded.description == DataDescription(3, HEIGHT, WIDTH, levels=256)
    assert np.array_equal(loaded.images.numpy()[0], COLOUR[..., :3].transpose(2, 0, 1))


@pytest.mark.parametrize("extension", ["jpg", "jpeg"])
def test_jpeg_is_close(tmp_path: Path, extension: str) -> None:
    ramps = np.stack(np.broadcast_arrays(np.arange(48)[:, None] * 2, np.arange(40) * 3, 200), axis=-1).astype(np.uint8)
    content = encode(Image.fromarray(ramps), "JPEG", quality=95)
    image = load_images(str(write_folder(tmp_path, {f"a.{extension}": content}))).images.numpy()[0]
    assert np.abs(image.astype(int) - ramps.transpose(2, 0, 1)).mean() < 2


def test_of_an_animation_the_first_frame_counts(tmp_path: Path) -> None:
    frames = [Image.new("P", (WIDTH, HEIGHT), index) for index in (1, 2)]
    for frame in frames:
        frame.putpalette([0, 0, 0, 10, 20, 30, 90, 80, 70])
    content = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    loaded = load_images(str(write_folder(tmp_path, {"a.gif": content})))
    assert loaded.images[0, :, 2, 6].tolist() == [10, 20, 30]


def test_sorted_by_path_with_labels_and_strangers_ignored(tmp_path: Path) -> None:
    names = {"b/0.png": 2, "a/1.png": 1, "a/0.PNG": 0, "c.png": 3}
    files = {name: encode(Image.fromarray(GREY + np.uint8(shift))) for name, shift in names.items()}
    strangers = ["a/dataset.json", "a/readme.txt", ".hidden.png", ".cache/0.png", "__MACOSX/._0.png", "a/png"]
    files |= dict.fromkeys(strangers, b"not an image")
    for write in (write_folder, write_zip):
        images = load_images(str(write(tmp_path, files))).images.numpy()
        assert np.array_equal(images[:, 0], [GREY + np.uint8(shift) for shift in range(4)])


def test_a_zip_is_known_by_its_content(tmp_path: Path) -> None:
    path = write_zip(tmp_path, {"a.png": encode(colour())}).rename(tmp_path / "no-suffix")
    assert load_images(str(path)).count == 1


def test_folder_and_zip_of_the_same_files_have_one_digest(tmp_path: Path) -> None:
    files = {f"{shift}.png": encode(colour(shift=shift)) for shift in range(5)}
    digests = {load_images(str(write(tmp_path, files))).digest() for write in (write_folder, write_zip)}
    assert len(digests) == 1


@both
def test_limit_decodes_only_what_it_keeps(tmp_path: Path, write: Write) -> None:
    kept = set(kept_indices(20, 6).tolist())
    picture = {index: encode(Image.fromarray(GREY + np.uint8(index))) for index in kept}
    path = write(tmp_path, {f"{index:02}.png": picture.get(index, b"damaged") for index in range(20)})
    images = load_images(str(path), limit=6).images.numpy()
    assert np.array_equal(images[:, 0], [GREY + np.uint8(index) for index in sorted(kept)])
    refused(path, "cannot read")


# --- channels

PALETTE = Image.new("P", (WIDTH, HEIGHT), 1)
PALETTE.putpalette([0, 0, 0, 10, 20, 30])


@pytest.mark.parametrize(
    ("content", "pixel"),
    [
        (encode(Image.new("1", (WIDTH, HEIGHT), 1)), [255]),
        (encode(Image.new("L", (WIDTH, HEIGHT), 9)), [9]),
        (encode(PALETTE), [10, 20, 30]),
        (encode(PALETTE, transparency=1), [10, 20, 30, 0]),
        (encode(PALETTE, transparency=b"\xff\x50"), [10, 20, 30, 80]),
        (encode(Image.new("LA", (WIDTH, HEIGHT), (9, 40))), [9, 9, 9, 40]),
        (encode(Image.new("RGBA", (WIDTH, HEIGHT), (1, 2, 3, 4))), [1, 2, 3, 4]),
        (encode(Image.new("RGB", (WIDTH, HEIGHT), (1, 2, 3)), transparency=(1, 2, 3)), [1, 2, 3, 0]),
        (encode(Image.new("CMYK", (WIDTH, HEIGHT), (255, 0, 0, 0)), "TIFF"), [0, 255, 255]),
    ],
    ids=["1", "L", "P", "P+index", "P+bytes", "LA", "RGBA", "RGB+colour", "CMYK"],
)
def test_channels_of_every_mode(tmp_path: Path, content: bytes, pixel: list[int]) -> None:
    extension = "tif" if content[:2] in (b"II", b"MM") else "png"
    images = load_images(str(write_folder(tmp_path, {f"a.{extension}": content}))).images
    assert images.shape == (1, len(pixel), HEIGHT, WIDTH)
    assert images[0, :, 1, 5].tolist() == pixel


@pytest.mark.parametrize("order", [(1, 3, 4), (4, 3, 1), (3, 1, 4), (1, 4, 3), (1, 3), (3, 1), (1, 4), (4, 1)])
def test_the_richest_picture_sets_the_channels_of_all(tmp_path: Path, order: tuple[int, ...]) -> None:
    opaque = np.full((HEIGHT, WIDTH), 255, dtype=np.uint8)
    full = {
        1: np.stack([GREY, GREY, GREY, opaque]),
        3: np.stack([*COLOUR[..., :3].transpose(2, 0, 1), opaque]),
        4: COLOUR.transpose(2, 0, 1),
    }
    sources = {1: Image.fromarray(GREY), 3: colour(3), 4: colour(4)}
    files = {f"{place}.png": encode(sources[channels]) for place, channels in enumerate(order)}
    images = load_images(str(write_folder(tmp_path, files))).images.numpy()
    assert np.array_equal(images, [full[channels][: max(order)] for channels in order])


# --- how pictures lie, and what is left out


def with_orientation(image: Image.Image, orientation: int, kind: str = "PNG") -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return encode(image, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_pictures_stand_as_their_exif_orientation_says(tmp_path: Path, kind: str, orientation: int) -> None:
    """Row 0 and column 0 of what is stored are, by the EXIF standard: where they are of what was seen."""
    seen = COLOUR[..., :3]
    stored = {
        1: seen, 2: seen[:, ::-1], 3: seen[::-1, ::-1], 4: seen[::-1], 5: seen.transpose(1, 0, 2),
        6: seen.transpose(1, 0, 2)[::-1], 7: seen.transpose(1, 0, 2)[::-1, ::-1], 8: seen.transpose(1, 0, 2)[:, ::-1],
    }[orientation]  # fmt: skip
    content = with_orientation(Image.fromarray(np.ascontiguousarray(stored)), orientation, kind)
    path = str(write_folder(tmp_path, {f"a.{kind.lower()}": content}))
    for memory in (None, Room(memory=0)):  # and so is the shape, before pixels are decoded
        loaded = load_images(path, room=memory)
        assert loaded.description == DataDescription(3, HEIGHT, WIDTH, levels=256)
        assert np.array_equal(loaded.images[0:1].numpy()[0], seen.transpose(2, 0, 1))
    if kind != "TIFF":  # which Pillow turns itself
        told = ("1 of 1 pictures were turned as their EXIF orientation says",) if orientation > 1 else ()
        assert load_images(path).layout.remarks == told


def test_a_turned_photograph(tmp_path: Path) -> None:
    shades = np.linspace(0, 200, 24 * 16).reshape(24, 16).astype(np.uint8)
    content = with_orientation(Image.fromarray(np.rot90(shades)), 6, "JPEG")
    found = load_images(str(write_folder(tmp_path, {"a.jpg": content}))).images.numpy()[0, 0]
    assert np.abs(found.astype(int) - shades).mean() < 3


def test_damaged_exif_says_nothing(tmp_path: Path) -> None:
    content = encode(colour(), exif=b"Exif\0\0damaged")
    found = load_images(str(write_folder(tmp_path, {"a.png": content}))).images.numpy()[0]
    assert np.array_equal(found, COLOUR[..., :3].transpose(2, 0, 1))


def test_a_transparent_picture_among_opaque_ones_is_named(tmp_path: Path) -> None:
    files = {f"{n}.png": encode(colour()) for n in range(4)} | {"stray.png": encode(colour(4))}
    path = str(write_folder(tmp_path, files))
    told = (
        "1 of 5 pictures has an alpha channel (stray.png) and others have none (0.png), so that all images have 4 "
        "channels; leave alpha out with --drop-alpha",
    )
    for room in (None, Room(memory=0)):
        found = load_images(path, room=room)
        assert (found.description.channels, found.layout.warnings) == (4, told)
        dropped = load_images(path, resize=Resize(drop_alpha=True), room=room)
        assert (dropped.description.channels, dropped.layout.warnings) == (3, ())
        assert dropped.layout.remarks == ("the alpha channel of 1 of 5 pictures was left out (--drop-alpha)",)
        assert np.array_equal(dropped.images[4:].numpy()[0], COLOUR[..., :3].transpose(2, 0, 1))
    assert dropped.provenance(None)["drop_alpha"] is True
    assert "drop_alpha" not in found.provenance(None)


def test_alpha_that_all_have_is_not_warned_of(tmp_path: Path) -> None:
    path = write_folder(tmp_path, {f"{n}.png": encode(colour(4)) for n in range(3)})
    assert load_images(str(path)).layout.warnings == ()


def test_grey_pictures_among_colour_are_counted(tmp_path: Path) -> None:
    path = write_folder(tmp_path, {"a.png": encode(colour()), "b.png": encode(Image.fromarray(GREY))})
    assert load_images(str(path)).layout.remarks == ("1 of 2 pictures are grey, and were made colour",)


@pytest.mark.parametrize(
    ("content", "pixel"),
    [
        (encode(PALETTE, transparency=1), [10, 20, 30]),
        (encode(Image.new("L", (WIDTH, HEIGHT), 9), transparency=9), [9]),
        (encode(Image.new("LA", (WIDTH, HEIGHT), (9, 40))), [9]),
        (encode(Image.new("RGBA", (WIDTH, HEIGHT), (1, 2, 3, 4))), [1, 2, 3]),
        (encode(Image.new("RGB", (WIDTH, HEIGHT), (1, 2, 3)), transparency=(1, 2, 3)), [1, 2, 3]),
    ],
    ids=["P", "L", "LA", "RGBA", "RGB"],
)
def test_colours_under_a_dropped_alpha_are_as_stored(tmp_path: Path, content: bytes, pixel: list[int]) -> None:
    images = load_images(str(write_folder(tmp_path, {"a.png": content})), resize=Resize(drop_alpha=True)).images
    assert images.shape == (1, len(pixel), HEIGHT, WIDTH)
    assert images[0, :, 1, 5].tolist() == pixel


def test_alpha_of_arrays_is_dropped_too(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.broadcast_to(COLOUR, (2, *COLOUR.shape)))
    for room in (None, Room(memory=0)):
        found = load_images(str(tmp_path / "a.npy"), resize=Resize(drop_alpha=True), room=room)
        assert found.description.channels == 3
        assert np.array_equal(found.images[1:].numpy()[0], COLOUR[..., :3].transpose(2, 0, 1))


def test_cmyk_photographs(tmp_path: Path) -> None:
    ink = Image.new("CMYK", (16, 16), (0, 200, 100, 20))
    found = load_images(str(write_folder(tmp_path, {"a.jpg": encode(ink, "JPEG", quality=95)}))).images
    assert found.shape == (1, 3, 16, 16)
    assert np.abs(found[0, :, 8, 8].numpy().astype(int) - [235, 51, 143]).max() < 4  # (255 - ink)(255 - key) / 255


# --- refusals


def png_of_16_bit_colour() -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + bytes(WIDTH * 6)) * HEIGHT)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.png", encode(Image.new("I;16", (WIDTH, HEIGHT)))),
        ("a.png", png_of_16_bit_colour()),
        ("a.tif", encode(Image.new("F", (WIDTH, HEIGHT)), "TIFF")),
        ("a.pgm", b"P5 7 3 65535\n" + bytes(42)),
        ("a.ppm", b"P6 7 3 1000\n" + bytes(126)),
        ("a.ppm", b"P3 1 1 1000\n1 2 3\n"),
    ],
    ids=["I;16", "RGB;16", "F", "pgm 16", "ppm 10", "plain ppm 10"],
)
def test_more_than_8_bits_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    refused(
        write_folder(tmp_path, {name: content}),
        f"{name} in .* has more than 8 bits per channel .*convert it to 8",
    )


@both
def test_two_sizes_are_refused_naming_both(tmp_path: Path, write: Write) -> None:
    files = {
        "a.png": encode(colour()),
        "b.png": encode(colour()),
        "c.png": encode(colour().transpose(Image.ROTATE_90)),
    }
    refused(write(tmp_path, files), "differ in size: a.png is 3x7, c.png is 7x3 .*bring all to one size")


@both
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not an image"),
        (b"hello", "not an image"),
        (encode(Image.effect_noise((64, 64), 50), "JPEG")[:1000], "truncated"),
        (encode(Image.effect_noise((64, 64), 50))[:1000], "truncated"),
        (encode(colour())[:20], ""),
    ],
    ids=["empty", "text", "jpeg", "png", "png header"],
)
def test_one_damaged_file_is_refused_by_name(tmp_path: Path, write: Write, content: bytes, reason: str) -> None:
    path = write(tmp_path, {"a.png": encode(colour()), "deep/b.png": content})
    refused(path, f"cannot read deep/b.png in .*{reason}.*: replace or remove it")


def test_a_zip_whose_bytes_rotted_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path, {"a.bmp": encode(colour(), "BMP")})
    content = bytearray(path.read_bytes())
    content[120] ^= 1
    path.write_bytes(content)
    refused(path, "cannot read a.bmp in .*CRC")


def test_a_truncated_zip_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path, {"a.png": encode(colour())})
    path.write_bytes(path.read_bytes()[:-30])
    refused(path, "is a truncated or damaged zip .*: fetch it again")


@both
@pytest.mark.parametrize("files", [{}, {"dataset.json": b"{}", ".a.png": encode(colour())}])
def test_no_picture_at_all_is_refused(tmp_path: Path, write: Write, files: dict[str, bytes]) -> None:
    refused(
        write(tmp_path, files),
        f"there is no image in .* or below it: looked for {', '.join(EXTENSIONS)} files",
    )
