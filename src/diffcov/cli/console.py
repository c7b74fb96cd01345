"""How the program talks: stdout is data, stderr is talk; a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import typer

__all__ = ["Progress", "finish", "next_step", "note", "progress", "show", "warn"]

PLAIN_INTERVAL = 10.0
"""Seconds between progress lines where stderr is not a terminal."""


def note(text: str) -> None:
    """One line of talk."""
    typer.echo(text, err=True)


def warn(text: str) -> None:
    """One line the user should not miss."""
    typer.echo(f"warning: {text}", err=True)


def next_step(command: str) -> None:
    """What to type next."""
    note(f"next: {command}")


def finish(result: Mapping[str, Any], as_json: bool, data: str) -> None:
    """The command's result on stdout: the whole object with ``--json``, else the one thing a script would want."""
    typer.echo(json.dumps(result, indent=2, allow_nan=False) if as_json else data)


def show(renderable: Any) -> None:
    """A rich table (or text) on stderr."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        console = Console(stderr=True, width=120)
    console.print(renderable)


class Progress(Protocol):
    """A long task's display."""

    def update(self, done: float, message: str = "", total: float | None = None) -> None:
        """``done`` of the total (a better guess of which may be given); a message stays until the next one."""


@contextmanager
def progress(title: str, total: float | None, unit: str) -> Iterator[Progress]:
    """Show a task's progress, rate and time to go on stderr while the block runs.

    Args:
        title: what is being done.
        total: where it ends, or None if that is not known.
        unit: what is counted.
    """
    if sys.stderr.isatty():
        with _Bar(title, total, unit) as bar:
            yield bar
    else:
        lines = _Lines(title, total, unit)
        yield lines
        lines.say()


class _Lines:
    def __init__(self, title: str, total: float | None, unit: str) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.started = self.spoken = time.monotonic()
        self.start: float | None = None
        self.done = 0.0
        self.said: float | None = None
        self.message = ""

    def update(self, done: float, message: str = "", total: float | None = None) -> None:
        self.message, self.total = message or self.message, total or self.total
        self.start, self.done = done if self.start is None else self.start, done
        if time.monotonic() - self.spoken >= PLAIN_INTERVAL:
            self.say()

    def say(self) -> None:
        if self.start is None or self.said == self.done:
            return
        self.spoken, self.said = time.monotonic(), self.done
        rate = (self.done - self.start) / max(self.spoken - self.started, 1e-9)
        parts = [f"{self.title}: {self.done:.0f}" + (f"/{self.total:.0f}" if self.total else "") + f" {self.unit}"]
        if rate > 0:
            parts += [f"{rate:.1f} {self.unit}/s"]
            if self.total and self.done < self.total:
                parts += [f"{_clock((self.total - self.done) / rate)} to go"]
        note(", ".join([*parts, self.message] if self.message else parts))


class _Bar:
    def __init__(self, title: str, total: float | None, unit: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self.unit = unit
        self.bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[message]}"),
            console=Console(stderr=True),
        )
        self.task = self.bar.add_task(title, total=total, rate="", message="")

    def __enter__(self) -> _Bar:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def update(self, done: float, message: str = "", total: float | None = None) -> None:
        speed = self.bar.tasks[0].speed
        fields: dict[str, Any] = {"rate": f"{speed:.1f} {self.unit}/s" if speed else ""}
        if message:
            fields["message"] = message
        if total:
            fields["total"] = total
        self.bar.update(self.task, completed=done, **fields)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
