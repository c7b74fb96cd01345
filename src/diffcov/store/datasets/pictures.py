"""Picture files to one array: which files count, how many channels they share, and that sizes agree."""

from __future__ import annotations

import io
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from diffcov.errors import InputError
from diffcov.store.datasets.mixture import Mixture
from diffcov.store.datasets.resize import Resize
from diffcov.store.datasets.stored import Pixels, widen
from diffcov.store.paths import shown

__all__ = ["EXTENSIONS", "Mixture", "is_picture", "pictures_shape", "read_pictures"]

CHUNK = 512
"""Files that are in memory at once."""
WORTH_THREADS = 8 << 10
"""Bytes of a file below which threads cost more than they save: only decoders let others run."""
FILTERS = threading.Lock()
EXTENSIONS = ("png", "jpg", "jpeg", "bmp", "gif", "webp", "tif", "tiff", "ppm", "pgm")

_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
_TARGETS = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB", "RGBX": "RGB", "CMYK": "RGB", "YCbCr": "RGB"}
_TARGETS |= {"LA": "RGBA", "PA": "RGBA", "RGBA": "RGBA", "RGBa": "RGBA"}
"""Pillow's modes of 8 bits and fewer, and the mode that holds each without loss."""
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF's orientation -> what makes a picture stand as it was taken."""
_SIDEWAYS = {
    Image.Transpose.TRANSPOSE,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
    Image.Transpose.ROTATE_270,
}


def is_picture(name: str) -> bool:
    """Whether a file counts, by its path in the folder or zip: known extension, nothing hidden."""
    parts = PurePosixPath(name).parts
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return not hidden and PurePosixPath(name).suffix.lower().removeprefix(".") in EXTENSIONS


def read_pictures(
    names: Sequence[str], contents: Callable[[str], bytes], where: Path, resize: Resize | None = None
) -> tuple[Pixels, Mixture]:
    """Decode pictures; the richest among them sets the channels of all.

    Grey is 1 channel, colour (palettes and CMYK too) 3, anything with transparency 4. Grey becomes colour by
    repetition, opaque pictures get alpha 255. Of an animation the first frame counts. A picture stands as its EXIF
    orientation says.

    Args:
        names: some of the pictures in ``where``, at least one.
        contents: name -> the bytes of that file.
        where: the folder or zip, for messages.
        resize: done to each; None takes them as they are, and then they must agree in size.

    Returns:
        uint8 (N, C, H, W) in the order of the names, C in 1, 3, 4; and what was met.

    Raises:
        InputError: two sizes, a picture smaller than what it is resized to, a file that cannot be decoded, or more
            than 8 bits per channel.
    """
    stack: Pixels | None = None
    met = Mixture()
    with _unwarned():
        for index, (picture, dropped, turned) in enumerate(_decoded(names, contents, where, resize)):
            if stack is None:
                stack = np.empty((len(names), *picture.shape), dtype=np.uint8)
            _check_size(picture.shape[1:], stack.shape[2:], names[index], names[0], where)
            met = met.with_one(names[index], picture.shape[0], dropped, turned)
            if picture.shape[0] > stack.shape[1]:
                stack = widen(stack, picture.shape[0])
            stack[index] = widen(picture, stack.shape[1])
    assert stack is not None
    return stack, met


def pictures_shape(
    names: Sequence[str], contents: Callable[[str], bytes], where: Path, resize: Resize | None
) -> tuple[tuple[int, int, int], Mixture]:
    """(C, H, W) of what :func:`read_pictures` would give, from the beginnings of the files: no pixel is decoded.

    Raises:
        InputError: as there, but for damaged pixels.
    """
    first: tuple[int, ...] | None = None
    met = Mixture()
    channels = 1
    with _unwarned():
        for name in names:
            with _opened(name, _content(name, contents, where), where, resize) as found:
                image, mode, turn, dropped = found
                channels = max(channels, len(mode))
                met = met.with_one(name, len(mode), dropped, turn is not None)
                size = (image.width, image.height) if turn in _SIDEWAYS else (image.height, image.width)
            first = first or size
            if resize is None or resize.size is None:
                _check_size(size, first, name, names[0], where)
    height, width = first or (0, 0)
    return (channels, height, width) if resize is None else resize.shape(channels, height, width), met


@contextmanager
def _unwarned() -> Iterator[None]:
    """Without Pillow's warnings of oddities in metadata; the filters are the process's, so one thread at a time."""
    with FILTERS, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _check_size(found: tuple[int, ...], wanted: tuple[int, ...], name: str, first: str, where: Path) -> None:
    if found != wanted:
        raise InputError(
            f"the images in {where} differ in size: {shown(first)} is {wanted[0]}x{wanted[1]}, {shown(name)} is "
            f"{found[0]}x{found[1]} (height x width); bring all to one size with --size N"
        )


def _decoded(
    names: Sequence[str], contents: Callable[[str], bytes], where: Path, resize: Resize | None
) -> Iterator[tuple[Pixels, bool, bool]]:
    """The pictures in order; where files are large, decoded by as many threads as there are processors."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(names), CHUNK):
            some = names[start : start + CHUNK]
            files = [_content(name, contents, where) for name in some]
            way = pool.map if sum(map(len, files)) > WORTH_THREADS * len(files) else map
            yield from way(lambda name, file: _decode(name, file, where, resize), some, files)


def _decode(name: str, content: bytes, where: Path, resize: Resize | None) -> tuple[Pixels, bool, bool]:
    """One picture, resized, uint8 (C, H, W), with the channels of its own mode; whether alpha was left out, and whether
    it was turned.
    """
    with _opened(name, content, where, resize) as (image, mode, turn, dropped):
        whole = image.convert("RGBA").convert(mode) if image.mode == "RGBa" else image.convert(mode)
        upright = whole if turn is None else whole.transpose(turn)
        pixels: Pixels = np.asarray(upright if resize is None else resize.picture(upright, f"{shown(name)} in {where}"))
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1), dropped, turn is not None


Opened = tuple[Image.Image, str, Image.Transpose | None, bool]
"""A picture, the mode that it is converted to, how it is turned, and whether its alpha channel is left out."""


@contextmanager
def _opened(name: str, content: bytes, where: Path, resize: Resize | None) -> Iterator[Opened]:
    """A picture whose pixels are not read yet, and what is to be done to it.

    Raises:
        InputError: it cannot be read or, inside the block, decoded; more than 8 bits per channel.
    """
    with _readable(name, where), Image.open(io.BytesIO(content), formats=_FORMATS) as image:
        mode = _TARGETS.get(image.mode)
        if mode is None or _is_deep(image):
            raise InputError(
                f"{shown(name)} in {where} has more than 8 bits per channel or is not grey, RGB or RGBA "
                f"(Pillow mode {image.mode}): convert it to 8 bits first"
            )
        clear = mode == "RGBA" or "transparency" in image.info
        drop = resize is not None and resize.drop_alpha
        if clear:
            opaque = "L" if image.mode in ("1", "L", "LA") else "RGB"
            mode = opaque if drop else "RGBA"
        yield image, mode, _turn(image), clear and drop


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What makes a picture stand as its EXIF data say; Pillow itself does so with TIFF."""
    if "exif" not in image.info or image.format == "TIFF":
        return None
    try:
        return _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged metadata say nothing, and the pixels may be whole
        return None


def _content(name: str, contents: Callable[[str], bytes], where: Path) -> bytes:
    with _readable(name, where):
        return contents(name)


@contextmanager
def _readable(name: str, where: Path) -> Iterator[None]:
    """Whatever goes wrong while a picture is read becomes an input error that names it."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # decoders meet damaged bytes with exceptions of every kind
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else " ".join(str(error).split())
        raise InputError(f"cannot read {shown(name)} in {where} ({reason}): replace or remove it") from error


def _is_deep(image: Image.Image) -> bool:
    """Whether Pillow would silently drop the low bits of 16-bit colour, which it opens as plain RGB."""
    for decoder, _, _, parameters in getattr(image, "tile", ()):
        if ";16" in str(parameters) or (decoder.startswith("ppm") and parameters[1] > 255):
            return True
    return False
