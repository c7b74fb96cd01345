"""How far a long task is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from typing import Any

import typer

__all__ = ["Bar", "Lines"]

PLAIN_INTERVAL = 10.0
"""Seconds between progress lines where stderr is not a terminal."""


class Lines:
    """Plain lines on stderr, seconds apart."""

    def __init__(self, title: str, total: float | None, unit: str) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.started = self.spoken = time.monotonic()
        self.start: float | None = None
        self.done = 0.0
        self.said: float | None = None
        self.message = ""

    def update(self, done: float, message: str = "", total: float | None = None) -> None:
        """Say how far it is; see :class:`diffcov.study.listener.Progress`."""
        self.message, self.total = message or self.message, total or self.total
        if self.start is None:  # the rate is that of what was done from here on
            self.start, self.started = done, time.monotonic()
        self.done = done
        if time.monotonic() - self.spoken >= PLAIN_INTERVAL:
            self.say()

    def say(self) -> None:
        """Say how far it is, unless that has been said."""
        if self.start is None or self.said == self.done:
            return
        self.spoken, self.said = time.monotonic(), self.done
        rate = (self.done - self.start) / max(self.spoken - self.started, 1e-9)
        parts = [f"{self.title}: {self.done:.0f}" + (f"/{self.total:.0f}" if self.total else "") + f" {self.unit}"]
        if rate > 0:
            parts += [f"{rate:.1f} {self.unit}/s"]
            if self.total and self.done < self.total:
                parts += [f"{_clock((self.total - self.done) / rate)} to go"]
        typer.echo(", ".join([*parts, self.message] if self.message else parts), err=True)


class Bar:
    """A bar on a terminal."""

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

    def __enter__(self) -> Bar:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def update(self, done: float, message: str = "", total: float | None = None) -> None:
        """Say how far it is; see :class:`diffcov.study.listener.Progress`."""
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
