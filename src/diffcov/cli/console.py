"""How the program talks: stdout is data, stderr is talk."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from diffcov.cli.interrupt import stop_requests
from diffcov.cli.progress import Bar, Lines
from diffcov.cli.voice import Voice
from diffcov.errors import OutputError
from diffcov.study.listener import Progress, StopRequests
from diffcov.study.requests.shared import DEFAULT_RUN

__all__ = ["Console"]

OURS = re.compile(
    r"diffcov (train-mean|estimate-var|fit-var-head|sample|evaluate|trajectory|compare|tune|import|export)\b"
)


@dataclass(frozen=True)
class Console:
    """The terminal as a listener of experiments.

    Attributes:
        run: the run that is worked on.
        module: the program that its network is, if one was given.
        told: what :meth:`first_time` was asked of.
    """

    run: Path | None = None
    module: str | None = None
    told: set[str] = field(default_factory=set, compare=False)

    def placed(self, text: str) -> str:
        """The text, with ``--run`` and ``--module`` added to each command of ours in it that has them."""
        run = "" if self.run in (None, DEFAULT_RUN) else f" --run {shlex.quote(str(self.run))}"
        module = f" --module {shlex.quote(self.module)}" if self.module else ""
        return OURS.sub(lambda found: found[0] + run + (module if found[1] != "train-mean" else ""), text)

    def note(self, text: str) -> None:
        """One line of talk."""
        typer.echo(self.placed(text), err=True)

    def warn(self, text: str) -> None:
        """One line the user should not miss."""
        self.note(f"warning: {text}")

    def first_time(self, text: str) -> bool:
        """Whether this is asked for the first time of a text, by this command."""
        new = text not in self.told
        self.told.add(text)
        return new

    def next_step(self, command: str) -> None:
        """What to type next."""
        self.note(f"next: {command}")

    def show(self, renderable: Any) -> None:
        """A rich table (or text) on stderr; where that is no terminal, without boxes or blanks at the ends of lines."""
        from rich.console import Console as RichConsole

        console = RichConsole(stderr=True)
        if console.is_terminal:
            console.print(renderable)
            return
        console = RichConsole(stderr=True, width=120)
        with console.capture() as shown:
            console.print(_plain(renderable))
        typer.echo("\n".join(line.rstrip() for line in shown.get().splitlines()), err=True)

    def finish(self, result: Mapping[str, Any], as_json: bool, data: str, *, kept: bool = True) -> None:
        """The command's result on stdout: the whole object with ``--json``, else the one thing a script would want.

        Args:
            result, data: what to say.
            as_json: which of them.
            kept: whether what was done lies in files too, so that nothing is lost where stdout cannot be written.

        Raises:
            OutputError: it cannot, and this was all.
        """
        typer.echo(json.dumps(result, indent=2, allow_nan=False) if as_json else data)
        why = sys.stdout.unheard if isinstance(sys.stdout, Voice) else None
        if why is not None and kept:
            self.warn(f"the result could not be written to stdout ({why}); all files are there")
        elif why is not None:
            raise OutputError(
                f"the result could not be written to stdout ({why}); free some space, or redirect elsewhere"
            )

    @contextmanager
    def progress(self, title: str, total: float | None, unit: str) -> Iterator[Progress]:
        """A task's progress, rate and time to go on stderr: a bar on a terminal, plain lines elsewhere."""
        if sys.stderr.isatty():
            with Bar(title, total, unit) as bar:
                yield bar
        else:
            lines = Lines(title, total, unit)
            yield lines
            lines.say()

    def stop_requests(self) -> AbstractContextManager[StopRequests]:
        """Ctrl-C and SIGTERM as a wish that is heard and not obeyed at once."""
        return stop_requests()


def _plain(renderable: Any) -> Any:
    """A table as columns alone between the lines of its title and caption; anything else as it is."""
    from rich.console import Group
    from rich.table import Table

    if not isinstance(renderable, Table):
        return renderable
    around = renderable.title, renderable.caption
    renderable.title = renderable.caption = renderable.box = renderable.min_width = None
    return Group(*(part for part in (around[0], renderable, around[1]) if part))
