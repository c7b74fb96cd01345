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
from PIL import Image, UnidentifiedImageError

from diffcov.errors import InputError
from diffcov.store.datasets.resize import Resize
from diffcov.store.datasets.stored import Pixels, widen

__all__ = ["EXTENSIONS", "is_picture", "pictures_shape", "read_pictures"]

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


def is_picture(name: str) -> bool:
    """Whether a file counts, by its path in the folder or zip: known extension, nothing hidden."""
    parts = PurePosixPath(name).parts
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return not hidden and PurePosixPath(name).suffix.lower().removeprefix(".") in EXTENSIONS


def read_pictures(
    names: Sequence[str], contents: Callable[[str], bytes], where: Path, resize: Resize | None = None
) -> Pixels:
    """Decode pictures; the richest among them sets the channels of all.

    Grey is 1 channel, colour (palettes too) 3, anything with transparency 4. Grey becomes colour by
    repetition, opaque pictures get alpha 255. Of an animation the first frame counts. Pixels are taken as
    stored: EXIF rotation is ignored.

    Args:
        names: some of the pictures in ``where``, at least one.
        contents: name -> the bytes of that file.
        where: the folder or zip, for messages.
        resize: done to each; None takes them as they are, and then they must agree in size.

    Returns:
        uint8 (N, C, H, W) in the order of the names, C in 1, 3, 4.

    Raises:
        InputError: two sizes, a picture smaller than what it is resized to, a file that cannot be decoded, or more
            than 8 bits per channel.
    """
    stack: Pixels | None = None
    with _unwarned():
        for index, picture in enumerate(_decoded(names, contents, where, resize)):
            if stack is None:
                stack = np.empty((len(names), *picture.shape), dtype=np.uint8)
            _check_size(picture.shape[1:], stack.shape[2:], names[index], names[0], where)
            if picture.shape[0] > stack.shape[1]:
                stack = widen(stack, picture.shape[0])
            stack[index] = widen(picture, stack.shape[1])
    assert stack is not None
    return stack


def pictures_shape(
    names: Sequence[str], contents: Callable[[str], bytes], where: Path, resize: Resize | None
) -> tuple[int, int, int]:
    """(C, H, W) of what :func:`read_pictures` would give, from the beginnings of the files: no pixel is decoded.

    Raises:
        InputError: as there, but for damaged pixels.
    """
    first: tuple[int, ...] | None = None
    channels = 1
    with _unwarned():
        for name in names:
            with _opened(name, _content(name, contents, where), where) as (image, mode):
                channels = max(channels, len(mode))
                size = image.height, image.width
            first = first or size
            if resize is None:
                _check_size(size, first, name, names[0], where)
    height, width = (resize.size, resize.size) if resize is not None else first or (0, 0)
    return channels, height, width


@contextmanager
def _unwarned() -> Iterator[None]:
    """Without Pillow's warnings of oddities in metadata; the filters are the process's, so one thread at a time."""
    with FILTERS, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _check_size(found: tuple[int, ...], wanted: tuple[int, ...], name: str, first: str, where: Path) -> None:
    if found != wanted:
        raise InputError(
            f"the images in {where} differ in size: {first} is {wanted[0]}x{wanted[1]}, {name} is "
            f"{found[0]}x{found[1]} (height x width); bring all to one size with --size N"
        )


def _decoded(
    names: Sequence[str], contents: Callable[[str], bytes], where: Path, resize: Resize | None
) -> Iterator[Pixels]:
    """The pictures in order; where files are large, decoded by as many threads as there are processors."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(names), CHUNK):
            some = names[start : start + CHUNK]
            files = [_content(name, contents, where) for name in some]
            way = pool.map if sum(map(len, files)) > WORTH_THREADS * len(files) else map
            yield from way(lambda name, file: _decode(name, file, where, resize), some, files)


def _decode(name: str, content: bytes, where: Path, resize: Resize | None) -> Pixels:
    """One picture, resized, uint8 (C, H, W), with the channels of its own mode."""
    with _opened(name, content, where) as (image, mode):
        whole = image.convert(mode)
        pixels: Pixels = np.asarray(whole if resize is None else resize.picture(whole, f"{name} in {where}"))
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


@contextmanager
def _opened(name: str, content: bytes, where: Path) -> Iterator[tuple[Image.Image, str]]:
    """A picture whose pixels are not read yet, and the mode that holds it without loss.

    Raises:
        InputError: it cannot be read or, inside the block, decoded; more than 8 bits per channel.
    """
    with _readable(name, where), Image.open(io.BytesIO(content), formats=_FORMATS) as image:
        mode = _TARGETS.get(image.mode)
        if mode is None or _is_deep(image):
            raise InputError(
                f"{name} in {where} has more than 8 bits per channel or is not grey, RGB or RGBA "
                f"(Pillow mode {image.mode}): convert it to 8 bits first"
            )
        yield image, "RGBA" if "transparency" in image.info else mode


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
        raise InputError(f"cannot read {name} in {where} ({reason}): replace or remove it") from error


def _is_deep(image: Image.Image) -> bool:
    """Whether Pillow would silently drop the low bits of 16-bit colour, which it opens as plain RGB."""
    for decoder, _, _, parameters in getattr(image, "tile", ()):
        if ";16" in str(parameters) or (decoder.startswith("ppm") and parameters[1] > 255):
            return True
    return False
