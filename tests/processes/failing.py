"""One process fails while the other waits for it: started as ``torchrun ... failing.py``."""

from __future__ import annotations

from typing import Annotated

import typer

from diffcov.cli.app import ErrorBoundary
from diffcov.cli.several import quiet_unless_first
from diffcov.errors import InputError
from diffcov.processes.base import current

app = typer.Typer(cls=ErrorBoundary)


@app.callback()
def root(debug: Annotated[bool, typer.Option()] = False) -> None:
    """A program of two commands."""


@app.command()
def fail() -> None:
    """Fail, where the other process does not."""
    if current().rank == 1:
        raise InputError("the folder cannot be read on this machine; see that it is shared")
    current().wait()


@app.command()
def both() -> None:
    """Fail alike."""
    raise InputError("there is no such run")


with quiet_unless_first():
    app()
