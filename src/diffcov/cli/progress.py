"""How far a long task is: a bar on a terminal that fits its width, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from diffcov.cli.interrupt import obey

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

__all__ = ["Bar", "Lines", "Pace"]

PLAIN_INTERVAL = 10.0
"""Seconds between progress lines where stderr is not a terminal."""
SHORTEST, LONGEST = 8, 40
"""Characters that the bar itself takes, at least and at most."""
LEAST_TITLE = 3
"""Characters of a title that are still worth their room."""


class Pace:
    """The arithmetic of a task's progress: its rate since its first word, and the time that is left at this rate.

    Args:
        title: what is being done.
        total: where it ends, or None if that is not known.
        unit: what is counted.
    """

    def __init__(self, title: str, total: float | None, unit: str) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.begun = self.started = time.monotonic()
        self.start: float | None = None
        self.done = 0.0
        self.message = self.aside = ""

    def tell(self, done: float, message: str, total: float | None, aside: str) -> None:
        """Take in how far it is; see :class:`diffcov.study.listener.Progress`."""
        self.message, self.aside = message or self.message, aside or self.aside
        self.total = total or self.total
        if self.start is None:  # the rate is that of what was done from here on
            self.start, self.started = done, time.monotonic()
        self.done = done

    @property
    def rate(self) -> float:
        """Units a second; 0 while nothing is known."""
        return 0.0 if self.start is None else (self.done - self.start) / max(time.monotonic() - self.started, 1e-9)

    @property
    def left(self) -> float | None:
        """Seconds to go; None while that is not known, or where nothing is left."""
        if not self.total or self.done >= self.total or self.rate <= 0:
            return None
        return (self.total - self.done) / self.rate

    @property
    def count(self) -> str:
        """How much is done, and of how much."""
        return f"{self.done:.0f}" + (f"/{self.total:.0f}" if self.total else "")


class Lines:
    """Plain lines on stderr, seconds apart."""

    def __init__(self, title: str, total: float | None, unit: str) -> None:
        self.pace = Pace(title, total, unit)
        self.spoken = time.monotonic()
        self.said: float | None = None

    def update(self, done: float, message: str = "", total: float | None = None, aside: str = "") -> None:
        """Say how far it is; see :class:`diffcov.study.listener.Progress`."""
        obey()
        self.pace.tell(done, message, total, aside)
        if time.monotonic() - self.spoken >= PLAIN_INTERVAL:
            self.say()

    def say(self) -> None:
        """Say how far it is, unless that has been said."""
        pace = self.pace
        if pace.start is None or self.said == pace.done:
            return
        self.spoken, self.said = time.monotonic(), pace.done
        parts = [f"{pace.title}: {pace.count} {pace.unit}"]
        if pace.rate > 0:
            parts += [f"{pace.rate:.1f} {pace.unit}/s"]
        if pace.left is not None:
            parts += [f"{_clock(pace.left)} to go"]
        typer.echo(", ".join([*parts, *filter(None, (pace.message, pace.aside))]), err=True)


class Bar:
    """One line on a terminal, never longer than that is wide.

    Where there is no room for all, what was told beside goes first, then the time so far, the rate, the message, and
    the bar itself; the title is cut. The count and the time to go are always there.
    """

    def __init__(self, title: str, total: float | None, unit: str, console: Console | None = None) -> None:
        from rich.console import Console as RichConsole
        from rich.live import Live

        self.pace = Pace(title, total, unit)
        self.console = console or RichConsole(stderr=True)
        self.live = Live(get_renderable=self.line, console=self.console, refresh_per_second=4)

    def __enter__(self) -> Bar:
        self.live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def update(self, done: float, message: str = "", total: float | None = None, aside: str = "") -> None:
        """Say how far it is; see :class:`diffcov.study.listener.Progress`."""
        obey()
        self.pace.tell(done, message, total, aside)

    def line(self) -> Table:
        """The line as it is now, for the present width of the terminal."""
        from rich.table import Table

        width, cells = self.console.width - 1, dict(self._texts())
        for name in ("aside", "elapsed", "rate", "message", "bar"):
            if sum(len(text) + 1 for text in cells.values()) - 1 <= width:
                break
            cells.pop(name, None)
        spare = width - sum(len(text) + 1 for text in cells.values()) + 1
        if spare < 0:
            cells["title"] = _cut(cells["title"], max(0, len(cells["title"]) + spare))
            if len(cells["title"]) < LEAST_TITLE:
                del cells["title"]
        row = Table.grid(padding=(0, 1, 0, 0))
        for _ in cells:
            row.add_column(no_wrap=True)
        row.add_row(*(self._styled(name, text, spare) for name, text in cells.items()))
        return row

    def _texts(self) -> Iterator[tuple[str, str]]:
        """What there is to say, by its name, from left to right."""
        pace = self.pace
        yield "title", pace.title
        yield "bar", " " * SHORTEST
        yield "count", pace.count
        if pace.rate > 0:
            yield "rate", f"{pace.rate:.1f} {pace.unit}/s"
        yield "elapsed", _clock(time.monotonic() - pace.begun)
        yield "left", "done" if pace.total and pace.done >= pace.total else f"left {_clock(pace.left)}"
        yield from ((name, text) for name, text in (("message", pace.message), ("aside", pace.aside)) if text)

    def _styled(self, name: str, text: str, spare: int) -> RenderableType:
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        if name == "bar":
            width = min(LONGEST, SHORTEST + max(0, spare))
            return ProgressBar(self.pace.total, min(self.pace.done, self.pace.total or 0), width=width)
        styles = {"count": "green", "rate": "magenta", "elapsed": "yellow", "left": "cyan"}
        return Text(text, style=styles.get(name, ""))


def _cut(text: str, width: int) -> str:
    """The beginning of a text that is too long."""
    return text if len(text) <= width else f"{text[: max(0, width - 1)]}…"


def _clock(seconds: float | None) -> str:
    """A time as people read it; of one that is not known, dashes."""
    if seconds is None:
        return "-:--"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
