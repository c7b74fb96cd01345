"""Objects that NVIDIA's projects pickle together with their program: read as what they hold, the program left alone.

Such an object is a call of ``torch_utils.persistence._reconstruct_persistent_obj`` with a dictionary: the source of a
module, the name of a class in it, and the object's attributes, among them the arguments that it was made with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from diffcov.errors import InputError
from diffcov.store.foreign.opcodes import shown
from diffcov.store.foreign.pickles import Record
from diffcov.store.foreign.stored import TensorRecord

__all__ = ["arguments_of", "attributes_of", "class_of", "is_persisted", "module_in", "tensors_within"]

MAKER = "torch_utils.persistence._reconstruct_persistent_obj"
DEPTH = 100
"""Modules within modules; EDM's networks have five."""


def is_persisted(value: Any) -> bool:
    """Whether something is such an object."""
    told = value.arguments[:1] if isinstance(value, Record) and value.path == MAKER else ()
    return bool(told) and isinstance(told[0], Mapping) and isinstance(told[0].get("state"), Mapping)


def class_of(value: Record) -> str:
    """The name of a persisted object's class, or of the torch module that another record is."""
    return shown(value.arguments[0].get("class_name") if is_persisted(value) else value.path.rpartition(".")[2])


def attributes_of(value: Record) -> Mapping[str, Any]:
    """The attributes of a persisted object, or of another record."""
    found: Mapping[str, Any] = value.arguments[0]["state"] if is_persisted(value) else value.state
    return found


def arguments_of(value: Record) -> dict[str, Any]:
    """The arguments by name that an object was made with.

    Raises:
        InputError: it was made with others, or did not keep them.
    """
    attributes = attributes_of(value)
    named = attributes.get("_init_kwargs")
    if attributes.get("_init_args") or not isinstance(named, Mapping):
        raise InputError(f"its {class_of(value)} does not say by name what it was made with (_init_kwargs)")
    return dict(named)


def module_in(value: Record, name: str) -> Record | None:
    """The module that a module has under a name; None if there is none."""
    found = dict(_entries(attributes_of(value), "_modules")).get(name)
    return found if isinstance(found, Record) else None


def tensors_within(module: Record) -> dict[str, TensorRecord]:
    """The parameters and buffers of a module and of all modules in it, by the names of torch's state dictionaries.

    Raises:
        InputError: a module that is in itself, or twice in another, or in more than a hundred others.
    """
    return dict(_walk(module, "", set(), 0))


def _walk(module: Record, prefix: str, seen: set[int], depth: int) -> Iterator[tuple[str, TensorRecord]]:
    if id(module) in seen:
        raise InputError(f"its module {shown(prefix.rstrip('.'))} is there twice")
    if depth > DEPTH:
        raise InputError(f"its module {shown(prefix)} is one of modules within modules, {DEPTH} deep")
    seen.add(id(module))
    attributes = attributes_of(module)
    for part in ("_parameters", "_buffers"):
        for name, value in _entries(attributes, part):
            if isinstance(value, TensorRecord):
                yield f"{prefix}{name}", value
    for name, child in _entries(attributes, "_modules"):
        if isinstance(child, Record):
            yield from _walk(child, f"{prefix}{name}.", seen, depth + 1)


def _entries(attributes: Mapping[str, Any], part: str) -> list[tuple[str, Any]]:
    found = attributes.get(part)
    return list(found.items()) if isinstance(found, Mapping) else []
