"""Where the numbers of a tensor lie in a file, and reading them when they are wanted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffcov.errors import InputError
from diffcov.store.zips import BadZipFile

__all__ = ["DTYPES", "StorageRecord", "TensorRecord", "kind_of_storage", "tensors_of"]

DTYPES = {
    "float32": torch.float32, "float64": torch.float64, "float16": torch.float16, "bfloat16": torch.bfloat16,
    "int64": torch.int64, "int32": torch.int32, "int16": torch.int16, "int8": torch.int8, "uint8": torch.uint8,
    "bool": torch.bool,
}  # fmt: skip
"""Number formats by their name."""
STORAGES = {
    "FloatStorage": "float32", "DoubleStorage": "float64", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool", "UntypedStorage": "uint8",
}  # fmt: skip


@dataclass(frozen=True)
class StorageKind:
    """The number format that a pickle names by the class of a storage."""

    dtype: torch.dtype


def kind_of_storage(name: str) -> StorageKind | None:
    """The kind of a storage class; None for another name."""
    return StorageKind(DTYPES[STORAGES[name]]) if name in STORAGES else None


@dataclass(frozen=True)
class StorageRecord:
    """A row of numbers in a file.

    Attributes:
        dtype: of them.
        numel: how many.
        read: gives their bytes.
    """

    dtype: torch.dtype
    numel: int
    read: Callable[[], bytes]


@dataclass(frozen=True)
class TensorRecord:
    """A tensor in a file.

    Attributes:
        storage: its numbers.
        offset: the first of them.
        size: of the tensor.
        stride: of the tensor.
    """

    storage: StorageRecord
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def load(self) -> Tensor:
        """The tensor, with memory of its own.

        Raises:
            InputError: it reaches beyond its storage, or the storage beyond its file.
        """
        if not isinstance(self.storage, StorageRecord):
            raise InputError("it is stored in something that is no storage")
        if not self._fits():
            raise InputError(f"its size {self.size} does not fit the {self.storage.numel} numbers it is stored in")
        if 0 in self.size:
            return torch.zeros(self.size, dtype=self.storage.dtype)
        content = self.storage.read()
        numbers = torch.frombuffer(bytearray(content), dtype=self.storage.dtype, count=self.storage.numel)
        return numbers.as_strided(self.size, self.stride, self.offset).clone()

    def _fits(self) -> bool:
        if any(not isinstance(n, int) or n < 0 for n in (self.offset, *self.size, *self.stride)):
            return False
        if len(self.size) != len(self.stride) or math.prod(self.size) > self.storage.numel:
            return False
        last = self.offset + sum((n - 1) * step for n, step in zip(self.size, self.stride, strict=True))
        return 0 in self.size or last < self.storage.numel


def tensors_of(values: dict[str, Any]) -> dict[str, Tensor]:
    """The tensors of a state dictionary by name, in their order; what is none is left out.

    Raises:
        InputError: a tensor that does not fit its storage; it is named.
    """
    found = {}
    for name, value in values.items():
        if isinstance(value, TensorRecord):
            try:
                found[str(name)] = value.load()
            except (InputError, BadZipFile) as error:
                raise InputError(f"the tensor {name} is damaged: {error}") from error
    return found
