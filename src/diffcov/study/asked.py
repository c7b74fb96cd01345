"""From options by name to a request, and from a request back to the command that asks for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import Field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from diffcov.errors import UsageError
from diffcov.store.paths import expanded
from diffcov.study.options import Option, leaves, told_of

__all__ = ["asked", "typed"]

R = TypeVar("R")


def asked(request: type[R], values: Mapping[str, Any]) -> R:
    """A request from its options by name, however it is made of others; what is not given is as by default.

    Args:
        request: its class.
        values: by the name of the field, or of the option with underscores. Text is read as on the command line, so
            ``"5,10"`` and ``(5, 10)`` are the same.

    Raises:
        TypeError: a name that is none of its options.
        UsageError: a value that an option cannot have, or one option by two names.
        InputError: a path in a home that is not known.
    """
    names = _names(request)
    unknown = values.keys() - names.keys()
    if unknown:
        raise TypeError(f"{request.__name__} has no option {', '.join(sorted(unknown))}")
    given: dict[str, Any] = {}
    for name, value in values.items():
        if names[name] in given:
            raise UsageError(f"{name} and another name of the same option were given; give one of them")
        given[names[name]] = value
    return _made(request, given)


def typed(command: str, request: Any) -> list[str]:
    """The words that ask for this request on the command line: whatever is not as by default."""
    words = ["diffcov", command]
    for one, value in _values(request):
        told = told_of(one)
        if value == one.default:
            continue
        if told.argument:
            words.append(str(value))
        elif isinstance(value, bool):
            words.append(told.names[0].split("/")[0 if value else -1])
        else:
            several = isinstance(value, tuple)
            words += [told.names[0], ",".join(map(str, value)) or str(told.none) if several else str(value)]
    return words


def _names(request: type) -> dict[str, str]:
    """The field of every name that an option goes by."""
    found: dict[str, str] = {}
    for one, _ in leaves(request):
        for name in told_of(one).names:
            found[name.partition("/")[0].lstrip("-").replace("-", "_")] = one.name
    return {**found, **{one.name: one.name for one, _ in leaves(request)}}


def _values(request: Any) -> Iterable[tuple[Field[Any], Any]]:
    for one in fields(request):
        value = getattr(request, one.name)
        if is_dataclass(value):
            yield from _values(value)
        else:
            yield one, value


def _made(request: type[R], values: Mapping[str, Any]) -> R:
    types, given = get_type_hints(request), dict[str, Any]()
    for one in fields(request):  # type: ignore[arg-type]
        if is_dataclass(types[one.name]):
            own = {leaf.name for leaf, _ in leaves(types[one.name])}
            inside = {name: value for name, value in values.items() if name in own}
            if inside:
                given[one.name] = _made(types[one.name], inside)
        elif one.name in values:
            given[one.name] = _read(told_of(one), types[one.name], values[one.name])
    return request(**given)


def _read(told: Option, kind: Any, value: Any) -> Any:
    """A value as the request holds it; of a path, ``~`` is the home.

    Raises:
        UsageError: a value that the option cannot have.
        InputError: a path in a home that is not known.
    """
    name, kinds = told.names[0].partition("/")[0], (kind, *get_args(kind))
    if value is None:
        return value
    if told.many:
        return _several(told, name, value)
    if told.joined and not isinstance(value, str) and isinstance(value, Iterable):
        value = ",".join(map(str, value))
    if told.parse is not None:
        return told.parse(value) if isinstance(value, str) else value
    if isinstance(value, str | Path) and Path in kinds:
        return expanded(value)
    choices = [choice for part in kinds if get_origin(part) is Literal for choice in get_args(part)]
    if choices and value not in choices:
        raise UsageError(f"{name} takes one of {', '.join(choices)}; found {value!r}")
    if told.least is not None and not value >= told.least:
        raise UsageError(f"{name} must be at least {told.least:g}, found {value}")
    return value


def _several(told: Option, name: str, value: Any) -> tuple[Any, ...]:
    """Values, of which text may be several with commas between."""
    parts = [value] if isinstance(value, str) or not isinstance(value, Iterable) else list(value)
    found = [word for part in parts for word in (part.split(",") if isinstance(part, str) else [part])]
    words = [word.strip() if isinstance(word, str) else word for word in found]
    if told.none is not None and told.none in words:
        if len(words) > 1:
            shown = ",".join(map(str, words))
            raise UsageError(f"{name} {told.none} means no value at all and stands alone; found {shown}")
        return ()
    parse = told.parse or str
    return tuple(parse(word) if isinstance(word, str) else word for word in words)
