"""What must have been measured or fitted before a covariance can be used. Imports no torch."""

from __future__ import annotations

from enum import Enum

__all__ = ["Needs"]


class Needs(Enum):
    """The three cases."""

    NOTHING = "nothing"
    TABLE = "table"
    HEAD = "head"
