"""Tables in parquet and arrow files, read by blocks; pyarrow is an extra, imported when such a file is opened."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffcov.errors import InputError
from diffcov.store.pointer import refuse_pointer

__all__ = ["SUFFIXES", "Shard", "open_shard"]

SUFFIXES = (".parquet", ".arrow")


@dataclass(frozen=True)
class Shard:
    """One file.

    Attributes:
        path: of it.
        columns: names with their types, as pyarrow has them.
        features: what the `datasets` library wrote about its columns, by their names; empty if it wrote nothing.
        blocks: rows of each block, in order.
        read: (number of a block, name of a column) -> its values.
    """

    path: Path
    columns: dict[str, Any]
    features: dict[str, Any]
    blocks: tuple[int, ...]
    read: Callable[[int, str], Any]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return sum(self.blocks)


def open_shard(path: Path) -> Shard:
    """The table in a file, of which nothing but its ends has been read.

    Raises:
        InputError: pyarrow is missing, or the file is damaged or stands for another.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InputError(
            f"{path} is a table of Hugging Face's datasets, and reading one needs pyarrow ({error}); install it with: "
            "pip install pyarrow"
        ) from error
    refuse_pointer(path)
    with _whole(path, pyarrow.ArrowException):
        if path.suffix == ".parquet":
            schema, blocks, read = _parquet(path, pyarrow)
        else:
            schema, blocks, read = _arrow(path, pyarrow)

    def column(block: int, name: str) -> Any:
        with _whole(path, pyarrow.ArrowException):
            return read(block, name)

    return Shard(path, {field.name: field.type for field in schema}, _features(schema.metadata), blocks, column)


Parts = tuple[Any, tuple[int, ...], Callable[[int, str], Any]]


def _parquet(path: Path, pyarrow: Any) -> Parts:
    """(schema, rows of the row groups, reader of one)."""
    file = pyarrow.parquet.ParquetFile(path, memory_map=True)
    groups = tuple(file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups))
    return file.schema_arrow, groups, lambda group, name: file.read_row_group(group, columns=[name]).column(name)


def _arrow(path: Path, pyarrow: Any) -> Parts:
    """(schema, rows of the batches, reader of one); a stream, or the format that can be sought."""
    source = pyarrow.memory_map(str(path))
    try:
        stream = pyarrow.ipc.open_stream(source)
        batches = list(stream)
    except pyarrow.ArrowInvalid:
        stream = pyarrow.ipc.open_file(source)
        batches = [stream.get_batch(number) for number in range(stream.num_record_batches)]
    return stream.schema, tuple(len(batch) for batch in batches), lambda number, name: batches[number].column(name)


def _features(metadata: Any) -> dict[str, Any]:
    """The features in the metadata of a schema."""
    try:
        found = json.loads(metadata[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return dict(found) if isinstance(found, dict) else {}


@contextmanager
def _whole(path: Path, damage: type[Exception]) -> Iterator[None]:
    """What pyarrow refuses becomes an input error that names the file."""
    try:
        yield
    except damage as error:
        raise InputError(f"{path} is truncated or damaged ({' '.join(str(error).split())}): fetch it again") from error
