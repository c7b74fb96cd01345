"""One colour and one marker for each covariance, the same in every picture, by its place in the registry."""

from __future__ import annotations

from dataclasses import dataclass

from diffcov.covariance.registry import COVARIANCES

__all__ = ["COLOURS", "INK", "MARKERS", "Mark", "mark_of"]

INK = "#1b1f24"
"""Text and axes on white."""

COLOURS = (
    ("#6b7280", "#a1a9b5"),
    ("#a3358f", "#dc8bc8"),
    ("#a86400", "#e3a63a"),
    ("#d1410c", "#ff8a5c"),
    ("#0067b1", "#5fb1f3"),
    ("#00835c", "#45cb9d"),
    ("#1b8ac0", "#9adbf8"),
    ("#7a4a2b", "#cc9c78"),
    ("#5a4fcf", "#aea8f7"),
    ("#b0103f", "#ff87a3"),
    ("#4f6b00", "#b4cf4a"),
)
"""(on white, on near black): contrast of at least 3 to the ground; markers tell apart what an eye may confuse."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "*", "h", "d")


@dataclass(frozen=True)
class Mark:
    """How one curve is drawn.

    Attributes:
        place: index into :data:`COLOURS`.
        marker: a marker of matplotlib.
    """

    place: int
    marker: str

    @property
    def colour(self) -> str:
        """The colour on white."""
        return COLOURS[self.place][0]


def mark_of(name: str) -> Mark:
    """The mark of a covariance; a name that this diffcov does not know comes after those that it knows."""
    names = list(COVARIANCES)
    place = names.index(name) if name in names else len(names) + sum(name.encode())
    turn = place // len(COLOURS)
    return Mark(place % len(COLOURS), MARKERS[(place + turn) % len(MARKERS)])
