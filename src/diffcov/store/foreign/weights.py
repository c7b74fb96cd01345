"""Weights of strangers by name: safetensors, whole or in shards, or a file of ``torch.save`` of nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from diffcov.errors import InputError
from diffcov.store.artifact import load_tensors
from diffcov.store.foreign.opcodes import shown
from diffcov.store.foreign.stored import TensorRecord, tensors_of
from diffcov.store.foreign.torch_files import read_torch_file
from diffcov.store.pointer import refuse_pointer

__all__ = ["load_json", "read_weights", "state_dict_of", "unwrapped", "weights_file"]


def weights_file(folder: Path, stem: str) -> Path | None:
    """The file of weights in a folder: safetensors before pickles, whole before shards, full precision before half."""
    for end in ("safetensors", "safetensors.index.json", "fp16.safetensors", "bin", "bin.index.json", "fp16.bin"):
        path = folder / f"{stem}.{end}"
        if path.is_file():
            return path
    return None


def read_weights(path: Path) -> dict[str, Tensor]:
    """Every tensor of a file or of the shards that an index names.

    Raises:
        InputError: missing, a pointer, damaged, or a pickle that wants more than tensors.
    """
    if path.name.endswith(".index.json"):
        names = sorted(set(load_json(path).get("weight_map", {}).values()))
        missing = [name for name in names if not (path.parent / name).is_file()]
        if missing or not names:
            lacking = ", ".join(missing) or "none"
            raise InputError(f"{path} names {len(names)} shards and {lacking} is not there; fetch it")
        found: dict[str, Tensor] = {}
        for name in names:
            found |= read_weights(path.parent / name)
        return found
    if path.suffix == ".safetensors":
        return _safetensors(path)
    return state_dict_of(read_torch_file(path), path)


def state_dict_of(values: Any, path: Path) -> dict[str, Tensor]:
    """The tensors of a dictionary of them.

    Raises:
        InputError: it is no such dictionary.
    """
    if not isinstance(values, Mapping) or not any(isinstance(value, TensorRecord) for value in values.values()):
        raise InputError(f"{path} holds {_kind(values)}, and weights are tensors by name")
    try:
        return tensors_of(dict(values))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def unwrapped(name: str) -> str:
    """The name of a weight without what DistributedDataParallel and torch.compile put around a module and its parts."""
    return name.replace("_orig_mod.", "").removeprefix("module.")


def load_json(path: Path) -> dict[str, Any]:
    """A JSON file of one object.

    Raises:
        InputError: missing, a pointer, or something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{path} is no JSON ({error}); fetch it again") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} holds {_kind(found)}, and a configuration is an object")
    return found


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        refuse_pointer(path)
        return load_tensors(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f"{path} cannot be read as safetensors ({error}); it is cut off or something else") from error


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        names: Iterable[Any] = value
        return f"an object of {', '.join(shown(name) for name in list(names)[:6]) or 'nothing'}"
    return type(value).__name__
