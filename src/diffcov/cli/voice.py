"""Talk that cannot kill work: what reads stdout or stderr may go away, fill up, or never have been there."""

from __future__ import annotations

import errno
import sys
from io import TextIOWrapper
from typing import Any, TextIO

__all__ = ["Voice", "forgive_listeners"]


class Voice:
    """A stream that is written to as long as it can be; afterwards, words go nowhere and nothing is raised.

    All else is the stream's own. A reader of a pipe that goes away (``head``, a closed ssh session), a full disk and a
    closed descriptor are told alike: by :attr:`lost`.

    Args:
        stream: what is written to; None: there is none.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self.lost: Exception | None = None
        """What ended it, if anything has."""

    def __getattr__(self, name: str) -> Any:
        if self._stream is None:
            raise AttributeError(name)
        return getattr(self._stream, name)

    @property
    def encoding(self) -> str:
        """That of the stream."""
        return "utf-8" if self._stream is None else self._stream.encoding

    def isatty(self) -> bool:
        """Whether somebody watches a terminal, and still does."""
        try:
            return self._stream is not None and self.lost is None and self._stream.isatty()
        except ValueError:  # closed
            return False

    def write(self, text: str) -> int:
        """Say it if that is possible; characters that the stream's encoding lacks are said by their numbers."""
        if self._stream is not None and self.lost is None:
            try:
                try:
                    self._stream.write(text)
                except UnicodeEncodeError:
                    self._stream.write(text.encode(self.encoding, "backslashreplace").decode(self.encoding))
            except (OSError, ValueError) as error:
                self.lost = error
        return len(text)

    def flush(self) -> None:
        """Send what was said, if that is possible."""
        if self._stream is not None and self.lost is None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self.lost = error

    @property
    def unheard(self) -> str | None:
        """Why what was said is lost, where somebody may have counted on it; None if it is not.

        A reader that goes away has read what it wanted.
        """
        if self.lost is None or (isinstance(self.lost, OSError) and self.lost.errno == errno.EPIPE):
            return None
        return getattr(self.lost, "strerror", None) or str(self.lost)


def forgive_listeners() -> None:
    """Let stdout and stderr be voices; on stdout the name of a file that is no UTF-8 keeps its bytes."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")
    sys.stdout, sys.stderr = Voice(sys.stdout), Voice(sys.stderr)
