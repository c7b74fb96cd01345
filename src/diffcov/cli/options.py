"""The options of a command, made from the fields of its request: the one place where both worlds meet."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import Field, replace
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from diffcov.cli.console import Console
from diffcov.errors import DiffcovError
from diffcov.store.paths import shown
from diffcov.study.asked import asked
from diffcov.study.options import Option, leaves
from diffcov.study.requests.phrases import RUNNING

__all__ = ["command"]

JSON = "as_json"
Command = Callable[[Any, Console, bool], None]


def command(request: type, run_of: Callable[[Any], Path] | None = None) -> Callable[[Command], Callable[..., None]]:
    """Make a function a command whose options are the fields of a request.

    The function takes the request, whom to talk to, and whether its result is wanted as JSON. Its docstring is the
    help.

    Args:
        request: a frozen dataclass whose fields have an :class:`Option` each, or are such dataclasses themselves.
        run_of: the run that a request is about, where that is not its ``run``.
    """

    def made(function: Command) -> Callable[..., None]:
        def run(**given: Any) -> None:
            console = Console(given.get("run"), given.get("module"))
            try:
                told = {name: value for name, value in given.items() if name != JSON and value not in (None, [])}
                wanted: Any = asked(request, told)
                if run_of is not None:
                    console = replace(console, run=run_of(wanted))
                if given.get("module"):  # a program in the folder where one stands is found, as by python -m
                    sys.path.insert(0, os.getcwd())  # noqa: PTH109
                function(wanted, console, given[JSON])
            except DiffcovError as error:
                raise type(error)(shown(console.placed(str(error)))) from error

        found = sorted(leaves(request), key=lambda leaf: leaf[0].metadata["option"].panel == RUNNING)
        options = [_parameter(one, kind) for one, kind in found]
        options.append(
            _keyword(
                JSON,
                bool,
                typer.Option("--json", metavar="", help="Print the result as one JSON object on stdout."),
                False,
            )
        )
        run.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
        run.__annotations__ = {one.name: one.annotation for one in options}
        run.__doc__, run.__name__ = function.__doc__, function.__name__
        run.request = request  # type: ignore[attr-defined]
        return run

    return made


def _parameter(one: Field[Any], kind: Any) -> inspect.Parameter:
    """The parameter that typer makes an option of; what we parse ourselves is text to it."""
    told: Option = one.metadata["option"]
    default = one.default
    if told.parse is not None or told.joined:
        kind, default = (list[str] if told.many or told.joined else str) | None, _as_text(told, default)
    described = f" [default: {told.shown}]" if default is None and told.shown else ""
    more: dict[str, Any] = {
        "help": told.help + described,
        "metavar": "" if told.metavar is None and bool in (kind, *get_args(kind)) else told.metavar,
        "envvar": told.environment,
        "autocompletion": told.words,
        "rich_help_panel": told.panel,
        "show_default": default is not None and default is not False,
    }
    if told.least is not None:
        more["min"] = told.least
    if Path in (kind, *get_args(kind)):
        more["parser"] = path
    if told.argument:
        return _keyword(one.name, kind, typer.Argument(**more), default)
    return _keyword(one.name, kind, typer.Option(*told.names, **more), default)


def path(text: str) -> Path:
    """A path as it was typed: ``./~x``, of which a Path would be ``~x`` and so a home, is told from the root on."""
    found = Path(text)
    return found.absolute() if str(found).startswith("~") and not text.startswith("~") else found


def _as_text(told: Option, default: Any) -> Any:
    """A default as it would be typed; None where there is none."""
    if default is None or default == ():
        return None
    text = told.shown or (",".join(map(str, default)) if told.many else str(default))
    return [text] if told.many or told.joined else text


def _keyword(name: str, kind: Any, option: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])
