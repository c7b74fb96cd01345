"""The pickled batches of CIFAR, read without giving the pickle anything to call.

A pickle may ask for any function of any module. Here it gets stand-ins for the few that a numpy uint8 array
needs; they only take notes, and the array is made from the notes afterwards. All else is refused by name.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

from diffcov.store.datasets.stored import Labels, Pixels

__all__ = ["pickled_batch"]

_PIXELS = 3 * 32 * 32


class _Dtype:
    """Stands in for ``numpy.dtype``; only uint8 exists."""

    def __init__(self, code: object, *_flags: object) -> None:
        if code not in ("u1", b"u1"):
            raise pickle.UnpicklingError(f"it holds an array of type {code!r}, not uint8")

    def __setstate__(self, state: object) -> None:
        """Byte order and the like: of no meaning for single bytes."""


class _Array:
    """Stands in for ``numpy.ndarray``: shape, bytes and their order."""

    shape: object = None
    data: object = b""
    columns_first = False

    def __setstate__(self, state: Any) -> None:
        _version, self.shape, _dtype, columns_first, self.data = state
        self.columns_first = bool(columns_first)


def _reconstruct(*_arguments: object) -> _Array:
    """Stands in for numpy's function of this name: an array whose state follows."""
    return _Array()


def _frombuffer(data: object, _dtype: object, shape: object, order: object) -> _Array:
    """Stands in for numpy's function of this name (pickle protocol 5)."""
    array = _Array()
    array.data, array.shape, array.columns_first = data, shape, order == "F"
    return array


def _encode(text: str, _encoding: object) -> bytes:
    """Stands in for ``_codecs.encode``: how Python 3 writes bytes in protocol 2."""
    return text.encode("latin-1")


_ALLOWED = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Array,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
    ("numpy._core.numeric", "_frombuffer"): _frombuffer,
    ("_codecs", "encode"): _encode,
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"its pickle asks for {module}.{name}, which pixels never need")
        return _ALLOWED[module, name]


def pickled_batch(batch: bytes) -> tuple[Pixels, Labels | None]:
    """The images of one batch and, where it has them, their labels.

    Args:
        batch: a pickled dict with an array uint8 (N, 3072) under ``data`` and a list of N class numbers under
            ``labels`` (CIFAR-10) or ``fine_labels`` (CIFAR-100); from Python 2 or 3.

    Returns:
        uint8 (N, 3072): red, green and blue planes of 32x32; int64 (N,) or None.

    Raises:
        ValueError: anything else, above all a pickle that asks for more than arrays; nothing is executed.
    """
    try:
        # Python 2's strings are bytes, and so are the keys of what it wrote.
        content = _ArraysOnly(io.BytesIO(batch), encoding="bytes").load()
    except Exception as error:  # damaged pickles raise exceptions of every kind
        raise ValueError(str(error) or "its pickle is damaged") from error
    if not isinstance(content, dict):
        raise ValueError("it has no array under 'data'")
    images = _images(_entry(content, "data"))
    return images, _labels(_entry(content, "fine_labels", "labels"), len(images))


def pickled_names(meta: bytes) -> tuple[str, ...]:
    """The names of the classes in a pickled dict, under ``label_names`` or ``fine_label_names``; none if it has none.

    Nothing is executed.
    """
    try:
        content = _ArraysOnly(io.BytesIO(meta), encoding="bytes").load()
    except Exception:  # names are a courtesy, and no image depends on them
        return ()
    found = _entry(content, "fine_label_names", "label_names") if isinstance(content, dict) else None
    names = found if isinstance(found, list) else []
    return tuple(name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in names)


def _entry(content: dict[Any, Any], *names: str) -> object:
    """What a batch holds under the first of the names that it has, written as text or as bytes; else None."""
    keys = [key for name in names for key in (name.encode(), name)]
    return next((content[key] for key in keys if key in content), None)


def _images(array: object) -> Pixels:
    if not isinstance(array, _Array) or not isinstance(array.data, bytes | bytearray):
        raise ValueError("it has no array under 'data'")
    stored = np.frombuffer(array.data, dtype=np.uint8)
    if stored.size % _PIXELS or array.shape != (stored.size // _PIXELS, _PIXELS):
        raise ValueError(f"its array has the shape {array.shape} and {stored.size} bytes, not (N, {_PIXELS})")
    return stored.reshape((-1, _PIXELS), order="F" if array.columns_first else "C")


def _labels(found: object, count: int) -> Labels | None:
    if found is None:
        return None
    if not isinstance(found, list) or not all(type(label) is int and 0 <= label < 256 for label in found):
        raise ValueError("its labels are no list of class numbers in 0..255")
    if len(found) != count:
        raise ValueError(f"it has {count} images and {len(found)} labels")
    return np.array(found, dtype=np.int64)
