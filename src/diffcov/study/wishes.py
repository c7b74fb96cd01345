"""Parts that somebody wants from the forward path, and where parts are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from diffcov.engines.forward import Meter
from diffcov.store.parts import Part

__all__ = ["Keeper", "Measured", "Nowhere", "Wish"]

Measured = dict[str, tuple[str, dict[str, Any], Part]]
"""By name: the label of a part's file, its identity, and the part."""


class Keeper(Protocol):
    """Where parts are kept."""

    def part(self, name: str, identity: Mapping[str, Any]) -> Part | None:
        """A part measured earlier under this identity, or None if there is none."""

    def save_part(self, name: str, identity: Mapping[str, Any], part: Part) -> None:
        """Keep a part that is complete."""

    def drop_part(self, name: str) -> None:
        """Remove a part that is no longer wanted, if it is there."""


class Nowhere:
    """A keeper that forgets everything."""

    def part(self, name: str, identity: Mapping[str, Any]) -> Part | None:
        """Never a part."""
        return None

    def save_part(self, name: str, identity: Mapping[str, Any], part: Part) -> None:
        """Forget it."""

    def drop_part(self, name: str) -> None:
        """Do nothing: there is none."""


@dataclass(frozen=True)
class Wish:
    """Parts from the forward path: those that were kept, and what measures the others.

    Attributes:
        title: for people.
        found: by name; completed by :meth:`Bench.fulfil`.
        meter: measures what is missing; None if nothing is.
        finish: what the meter found, by name, each with its label and identity.
    """

    title: str
    found: dict[str, Part]
    meter: Meter | None
    finish: Callable[[], Measured]
