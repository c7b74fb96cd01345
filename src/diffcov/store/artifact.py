"""Artefacts: one safetensors file each, written whole or not at all, and verified when read.

The header's metadata (text to text) says what the file is and where it came from; the digest of the tensors and that of
the metadata prove that it is still what was written. Any safetensors reader opens these files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from diffcov.digest import digest_of_tensors, digest_of_values
from diffcov.errors import InputError, NonFiniteError, UsageError
from diffcov.processes.base import current
from diffcov.store.atomic import atomic_write
from diffcov.store.paths import utf8_name
from diffcov.version import __version__

__all__ = [
    "Artifact",
    "header_values",
    "is_ours",
    "is_sealed",
    "load_tensors",
    "read",
    "read_header",
    "tensor_names",
    "understanding",
    "write",
]

Result = TypeVar("Result")

FORMAT = "diffcov"
FORMAT_VERSION = "1"
SEAL = "metadata_digest"
"""Key of the digest of all other metadata, which files of earlier versions do not have."""


@dataclass(frozen=True)
class Artifact:
    """What a file holds.

    Attributes:
        kind: what it is: "mean", "variance-table", "head", "state", ...
        tensors: by name.
        metadata: the JSON values that were stored beside them.
        digest: sha256 of the tensors.
    """

    kind: str
    tensors: dict[str, Tensor]
    metadata: dict[str, Any]
    digest: str


def write(path: Path, kind: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> str:
    """Write one artefact atomically, by the first process alone.

    Args:
        path: where; an existing file is replaced.
        kind: what it is.
        tensors: any tensors; shared memory is separated.
        metadata: JSON values by key.

    Returns:
        The digest of the tensors.

    Raises:
        OutputError: the file system refuses.
    """
    return current().once(lambda: _write(path, kind, tensors, metadata))


def _write(path: Path, kind: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> str:
    stored = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    found = digest_of_tensors(stored)
    header = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "diffcov_version": __version__,
        "kind": kind,
        "digest": found,
        **{key: json.dumps(value) for key, value in metadata.items()},
    }
    header[SEAL] = json.dumps(digest_of_values(header))
    with atomic_write(path) as temporary:
        # save_file would write beside it under a random name, which a killed process leaves for good.
        temporary.write_bytes(save(stored, metadata=header))
    return found


def read(path: Path, kind: str, finite: bool = True) -> Artifact:
    """Read and verify one artefact; tensors arrive on the CPU.

    Args:
        path: the file.
        kind: what it must be.
        finite: whether NaN or infinity in it is an error.

    Raises:
        InputError: no such file, not safetensors (or truncated), not of this kind, or changed since it was written.
        NonFiniteError: a tensor holds NaN or infinity.
    """
    header = read_header(path, kind)
    tensors = _guarded(path, lambda: load_tensors(path))
    found = digest_of_tensors(tensors)
    if found != header["digest"]:
        raise InputError(
            f"{path} is damaged: its tensors have digest {found[:12]}, its header says {header['digest'][:12]}; "
            "make it again or restore a copy"
        )
    if finite:
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise NonFiniteError(f"{path} holds NaN or infinity in {name}; make it again from healthy inputs")
    return Artifact(kind, tensors, header_values(path, header), found)


def read_header(path: Path, kind: str | None = None) -> dict[str, str]:
    """The metadata of an artefact as text, without its tensors.

    Args:
        path: the file.
        kind: what it must be, or None for any.

    Raises:
        InputError: no such file, not safetensors, not written by diffcov, not of this kind, or changed since it was
            written.
    """
    if not path.is_file():
        raise InputError(f"no such file: {path}")
    header = _guarded(path, lambda: _metadata(path))
    if header.get("format") != FORMAT or not {"kind", "digest"} <= header.keys():
        raise InputError(
            f"{path} is a safetensors file, but not one that diffcov wrote (no format entry in its header)"
        )
    if header.get("format_version") != FORMAT_VERSION:
        raise InputError(
            f"{path} has format version {header.get('format_version')}, this diffcov reads {FORMAT_VERSION}; "
            "use the version that wrote it"
        )
    unsealed = {key: value for key, value in header.items() if key != SEAL}
    if is_sealed(header) and header[SEAL] != json.dumps(digest_of_values(unsealed)):
        raise InputError(
            f"the header of {path} is damaged: its entries do not have the digest that it says; make the file again or "
            "restore a copy"
        )
    if kind is not None and header["kind"] != kind:
        raise InputError(f"{path} is a {header['kind']!r} file, but a {kind!r} file is needed here")
    return header


def is_sealed(header: Mapping[str, str]) -> bool:
    """Whether a header carries a digest of itself, which :func:`read_header` has then checked."""
    return SEAL in header


def load_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of any safetensors file, by name, each with memory of its own.

    Raises:
        SafetensorError, OSError, ValueError: it cannot be read.
    """
    with utf8_name(path) as place, safe_open(place, framework="pt") as opened:
        return {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118


def is_ours(path: Path) -> bool:
    """Whether a safetensors file is one that diffcov wrote, of any version."""
    try:
        return _metadata(path).get("format") == FORMAT
    except (SafetensorError, OSError, ValueError):
        return False  # whoever reads it says what is wrong


def header_values(path: Path, header: Mapping[str, str]) -> dict[str, Any]:
    """The JSON values of a header, without the fields that every artefact has.

    Raises:
        InputError: a value that is not JSON.
    """
    plain = {"format", "format_version", "diffcov_version", "kind", "digest", SEAL}
    try:
        return {key: json.loads(value) for key, value in header.items() if key not in plain}
    except json.JSONDecodeError as error:
        raise InputError(f"the header of {path} is damaged ({error}); make the file again") from error


def tensor_names(path: Path) -> frozenset[str]:
    """The names of an artefact's tensors, without reading them. InputError if it cannot be read."""

    def names() -> frozenset[str]:
        with utf8_name(path) as place, safe_open(place, framework="pt") as opened:
            return frozenset(opened.keys())

    return _guarded(path, names)


@contextmanager
def understanding(path: Path) -> Iterator[None]:
    """Inside, whatever does not fit in a header that was read from ``path`` becomes one InputError."""
    try:
        yield
    except (AttributeError, LookupError, TypeError, ValueError, OverflowError, RecursionError, UsageError) as error:
        raise InputError(f"{path} lacks what this diffcov needs ({error}); make it again") from error


def _metadata(path: Path) -> dict[str, str]:
    with utf8_name(path) as place, safe_open(place, framework="pt") as opened:
        return dict(opened.metadata() or {})


def _guarded(path: Path, action: Callable[[], Result]) -> Result:
    try:
        return action()
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read as safetensors ({error}); it is truncated or something else: make it again"
        ) from error
