"""Links between what diffcov wrote and what it was made of, and whether each of them holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from diffcov.errors import DiffcovError, InputError

__all__ = ["Chain", "Link", "State"]

Result = TypeVar("Result")


class State(Enum):
    """How a link was found."""

    OK = "ok"
    CHANGED = "changed"
    MISSING = "missing"
    UNKNOWN = "unknown"

    @property
    def broken(self) -> bool:
        """Whether something is not what it says."""
        return self in (State.CHANGED, State.MISSING)


@dataclass(frozen=True)
class Link:
    """One thing that was checked.

    Attributes:
        name: a file, or two things with an arrow between.
        state: how it was found.
        said: what was compared, or why it was not.
        error: what is raised if it is broken.
    """

    name: str
    state: State
    said: str
    error: type[DiffcovError] = InputError


@dataclass
class Chain:
    """Every link that was looked at, in order.

    Attributes:
        path: what was asked about.
        links: so far.
    """

    path: Path
    links: list[Link] = field(default_factory=list)

    def add(self, name: str, state: State, said: str, error: type[DiffcovError] = InputError) -> None:
        """Note a link, once."""
        link = Link(name, state, said, error)
        if link not in self.links:
            self.links.append(link)

    def same(self, name: str, found: str, recorded: str, whole: str, changed: str) -> bool:
        """Compare a digest with the one that was recorded; returns whether they are equal.

        Args:
            name: of the link.
            found, recorded: the digests.
            whole: what to say where they are equal.
            changed: what to say where not; both digests are added.
        """
        if found == recorded:
            self.add(name, State.OK, whole)
        else:
            self.add(name, State.CHANGED, f"{changed} (found {found[:12]}, recorded {recorded[:12]})")
        return found == recorded

    def reading(self, name: str, read: Callable[[], Result]) -> Result | None:
        """What reading gives; None, and a broken link, where it is refused."""
        try:
            return read()
        except DiffcovError as error:
            self.add(name, State.CHANGED, str(error), type(error))
            return None

    @property
    def broken(self) -> list[Link]:
        """The links that do not hold."""
        return [link for link in self.links if link.state.broken]

    def require_whole(self) -> None:
        """Raise the error of the first link that does not hold."""
        if not self.broken:
            return
        first, more = self.broken[0], len(self.broken) - 1
        others = f"; so are {more} more links, see above" if more > 1 else "; so is one more, see above" if more else ""
        raise first.error(f"{self.path} is not what it says: {first.name} is {first.state.value}: {first.said}{others}")

    def as_dict(self) -> dict[str, Any]:
        """Plain values: ``{"path", "whole", "links": [{"link", "state", "said"}, ...]}``."""
        links = [{"link": one.name, "state": one.state.value, "said": one.said} for one in self.links]
        return {"path": str(self.path), "whole": not self.broken, "links": links}
