"""Pickles of strangers, read as data: no name in them is imported, and nothing is called but what holds numbers.

A pickle is a program: the names in it are imported and called. Here each name is looked up in a table of inert
stand-ins, and one that is not there is refused, with what it wanted to call. Tensors become records that say where
their numbers lie, and are read when they are asked for; sizes are checked against the file before any memory is taken.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from diffcov.store.foreign.opcodes import Refused, check_opcodes, shown
from diffcov.store.foreign.stored import DTYPES, StorageRecord, TensorRecord, kind_of_storage

__all__ = ["Record", "Refused", "Storages", "array_of", "read_pickles"]


class Record:
    """An object of a class that is not imported: its name, what it was made of, and its attributes."""

    path = ""
    arguments: tuple[Any, ...]
    state: dict[str, Any]

    def __new__(cls, *arguments: Any) -> Record:  # pickles make objects with and without calling their class
        made = super().__new__(cls)
        made.arguments, made.state = arguments, {}
        return made

    def __setstate__(self, state: Any) -> None:
        self.state = dict(state) if isinstance(state, dict) else {"": state}


class Fields(dict[str, Any]):
    """A dictionary whose items are attributes in the program that wrote it."""

    def __setstate__(self, state: Any) -> None:
        self.update(state)


Storages = Callable[[tuple[Any, ...]], StorageRecord]
"""What a persistent name in the pickle stands for."""
Nested = Callable[[bytes], Any]
"""Reads a file that is a value in another."""


def _tensor(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *rest: Any) -> TensorRecord:
    return TensorRecord(storage, int(offset), tuple(size), tuple(stride))


def _itself(value: Any, *rest: Any) -> Any:
    return value


def _latin(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise Refused(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


class _Dtype:
    """numpy's dtype while its state is still to come."""

    def __init__(self, text: str, *rest: Any) -> None:
        self.text, self.order = str(text), "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = str(state[1])

    def known(self) -> np.dtype[Any]:
        if not self.text[:1].isalpha() or self.text[:1] in "OVSUmM":
            raise Refused(f"numpy's dtype {self.text}")
        order = self.order if self.order in "<>" else "="
        return np.dtype(self.text).newbyteorder(order)  # type: ignore[arg-type]


class _Array:
    """numpy's array while its numbers are still to come."""

    def __init__(self, *arguments: Any) -> None:
        self.value: np.ndarray[Any, Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, content = state
        flat = np.frombuffer(bytes(content), dtype.known())
        self.value = flat.reshape(tuple(shape), order="F" if fortran else "C")


def array_of(value: Any) -> np.ndarray[Any, Any] | None:
    """The numbers of what a pickle held as an array of numpy's; None for anything else."""
    return value.value if isinstance(value, _Array) else value if isinstance(value, np.ndarray) else None


def _scalar(dtype: _Dtype, content: bytes) -> Any:
    return np.frombuffer(bytes(content), dtype.known())[0].item()


class _ArrayClass:
    """Stands where numpy's own class is named."""


STAND_INS: dict[str, Any] = {
    "collections.OrderedDict": OrderedDict,
    "builtins.set": set,
    "__builtin__.set": set,
    "builtins.dict": dict,
    "builtins.list": list,
    "builtins.tuple": tuple,
    "builtins.object": Record,
    "__builtin__.object": Record,
    "copy_reg._reconstructor": lambda cls, base, state: cls(),
    "copyreg._reconstructor": lambda cls, base, state: cls(),
    "_codecs.encode": _latin,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _itself,
    "torch._utils._rebuild_parameter_with_state": _itself,
    "torch.Size": tuple,
    "torch.device": lambda *name: ":".join(map(str, name)),
    "numpy.dtype": _Dtype,
    "numpy.ndarray": _ArrayClass,
    **dict.fromkeys(("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"), _scalar),
    **dict.fromkeys(("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"), _Array),
    **dict.fromkeys(("dnnlib.util.EasyDict", "dnnlib.EasyDict", "utils.EasyDict"), Fields),
    **{f"torch.{name}": name for name in DTYPES},
}
"""What each name stands for: containers of Python's, and functions that only note what they are given."""

INERT = ("torch.nn.", "argparse.Namespace", "torch_utils.persistence._reconstruct_persistent_obj", "ml_collections.")
"""Names, or beginnings of names, whose objects are kept as records."""


class _Reader(pickle.Unpickler):
    def __init__(self, stream: BinaryIO, storages: Storages, nested: Nested) -> None:
        super().__init__(stream, encoding="latin1")
        self._storages, self._nested = storages, nested

    def find_class(self, module: str, name: str) -> Any:
        path = f"{module}.{name}"
        if path in STAND_INS:
            return STAND_INS[path]
        if path == "torch.storage._load_from_bytes":
            return self._nested
        if module in ("torch", "torch.storage") and (kind := kind_of_storage(name)) is not None:
            return kind
        if path.startswith(INERT):
            return type(name, (Record,), {"path": path})
        raise Refused(f"wants to call {shown(path, 100)}")

    def persistent_load(self, name: Any) -> Any:
        return self._storages(name)


def read_pickles(stream: BinaryIO, count: int, storages: Storages, nested: Nested) -> list[Any]:
    """The next ``count`` pickles of a stream.

    Args:
        stream: that can be sought.
        count: how many.
        storages: what persistent names stand for.
        nested: reads bytes in a pickle that are a file of their own.

    Raises:
        Refused: one wants to call something, or claims a size that the stream does not have.
        ValueError, KeyError, TypeError, ...: what a damaged one makes Python say.
    """
    found = []
    for _ in range(count):
        start = stream.tell()
        check_opcodes(stream)
        stream.seek(start)
        found.append(_Reader(stream, storages, nested).load())
    return found
