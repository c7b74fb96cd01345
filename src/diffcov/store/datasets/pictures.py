"""Picture files to one array: which files count, how many channels they share, and that sizes agree."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, UnidentifiedImageError

from diffcov.errors import InputError
from diffcov.store.datasets.resize import Resize
from diffcov.store.datasets.stored import Pixels

__all__ = ["EXTENSIONS", "is_picture", "read_pictures"]

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
    # Pillow warns of oddities in metadata that do not touch the pixels.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first = _decode(names[0], contents, where, resize)
        stack = np.empty((len(names), *first.shape), dtype=np.uint8)
        for index, name in enumerate(names):
            picture = _decode(name, contents, where, resize) if index else first
            if picture.shape[1:] != first.shape[1:]:
                raise InputError(
                    f"the images in {where} differ in size: {names[0]} is {_size(first)}, "
                    f"{name} is {_size(picture)} (height x width); bring all to one size with --size N"
                )
            if picture.shape[0] > stack.shape[1]:
                stack = _widen(stack, picture.shape[0])
            stack[index] = _widen(picture, stack.shape[1])
    return stack


def _size(picture: Pixels) -> str:
    return f"{picture.shape[1]}x{picture.shape[2]}"


def _decode(name: str, contents: Callable[[str], bytes], where: Path, resize: Resize | None) -> Pixels:
    """One picture, resized, uint8 (C, H, W), with the channels of its own mode."""
    try:
        with Image.open(io.BytesIO(contents(name)), formats=_FORMATS) as image:
            mode = _TARGETS.get(image.mode)
            if mode is None or _is_deep(image):
                raise InputError(
                    f"{name} in {where} has more than 8 bits per channel or is not grey, RGB or RGBA "
                    f"(Pillow mode {image.mode}): convert it to 8 bits first"
                )
            if "transparency" in image.info:
                mode = "RGBA"
            whole = image.convert(mode)
            pixels: Pixels = np.asarray(whole if resize is None else resize.picture(whole, f"{name} in {where}"))
    except InputError:
        raise
    except Exception as error:  # decoders meet damaged bytes with exceptions of every kind
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else error
        raise InputError(f"cannot read {name} in {where} ({reason}): replace or remove it") from error
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _is_deep(image: Image.Image) -> bool:
    """Whether Pillow would silently drop the low bits of 16-bit colour, which it opens as plain RGB."""
    for decoder, _, _, parameters in getattr(image, "tile", ()):
        if ";16" in str(parameters) or (decoder.startswith("ppm") and parameters[1] > 255):
            return True
    return False


def _widen(pixels: Pixels, channels: int) -> Pixels:
    """uint8 (..., c, H, W) to ``channels`` >= c: grey repeated, alpha opaque."""
    if pixels.shape[-3] == channels:
        return pixels
    colour = np.repeat(pixels, 3, axis=-3) if pixels.shape[-3] == 1 else pixels
    if channels == 3:
        return colour
    opaque = np.full_like(pixels[..., :1, :, :], 255)
    return np.concatenate((colour, opaque), axis=-3)
