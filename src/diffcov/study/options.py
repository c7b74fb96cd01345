"""What a request says of each of its fields: how people may set it, and what it means. Imports no torch and no typer.

A request is a frozen dataclass; the command line makes its options from the fields, and a script sets the fields
themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import Field, dataclass, field, fields, is_dataclass, replace
from typing import Any, get_type_hints

from diffcov.errors import UsageError

__all__ = ["Option", "leaves", "one_of", "option", "told_of", "told_otherwise", "whole_numbers"]


@dataclass(frozen=True)
class Option:
    """One field, for people.

    Attributes:
        help: what it means.
        names: as on the command line; by default the field's own with dashes.
        metavar: what stands for its value in help.
        panel: the group it is listed in; None for the first one.
        least: its smallest value.
        parse: text -> value, for what the type alone does not say; UsageError where it cannot.
        many: whether it holds several values, each parsed, given with commas between or by repetition.
        joined: whether it is one value that may be written as a list, likewise with commas between or by repetition.
        none: the word for no value at all, where there are several.
        words: what completion offers.
        shown: what help says the default is, where that is not the value itself; beside a default that is parsed, a
            text that parses to it.
        environment: the variable that sets it.
        argument: whether it is given by its place and not by its name.
    """

    help: str
    names: tuple[str, ...] = ()
    metavar: str | None = None
    panel: str | None = None
    least: float | None = None
    parse: Callable[[str], Any] | None = None
    many: bool = False
    joined: bool = False
    none: str | None = None
    words: Callable[[], Sequence[str]] | None = None
    shown: str | None = None
    environment: str | None = None
    argument: bool = False


def option(default: Any, help: str, *names: str, **more: Any) -> Any:
    """A field of a request: its default, and the :class:`Option` of the other arguments."""
    return field(default=default, metadata={"option": Option(help, names, **more)})


def told_otherwise(request: type, name: str, **instead: Any) -> Any:
    """A field of a request as another one has it, which says something else of itself."""
    one = next(found for found in fields(request) if found.name == name)
    return field(default=one.default, metadata={"option": replace(one.metadata["option"], **instead)})


def told_of(one: Field[Any]) -> Option:
    """What a field that is an option says of itself; its names are filled in."""
    told: Option = one.metadata["option"]
    return told if told.names else replace(told, names=(f"--{one.name.replace('_', '-')}",))


def leaves(request: type) -> Iterator[tuple[Field[Any], Any]]:
    """Every field of a request that is an option, and its type, through the requests that it is made of."""
    types = get_type_hints(request)
    for one in fields(request):
        if is_dataclass(types[one.name]):
            yield from leaves(types[one.name])
        else:
            yield one, types[one.name]


def whole_numbers(name: str, example: str) -> Callable[[str], int]:
    """What reads each of several whole numbers, for the option called ``name``; UsageError for anything else."""

    def parse(text: str) -> int:
        try:
            return int(text)
        except ValueError:
            raise UsageError(
                f"{name} takes whole numbers with commas between, such as {example}; found {text!r}"
            ) from None

    return parse


def one_of(name: str, known: Callable[[], Iterable[str]]) -> Callable[[str], str]:
    """What reads each of several names, for the option called ``name``; UsageError for one that is not known then."""

    def parse(text: str) -> str:
        names = list(known())
        if text not in names:
            raise UsageError(f"{name} takes {', '.join(names)} with commas between; found {text!r}")
        return text

    return parse
