"""What must have been measured or fitted before a covariance can be used. Imports no torch."""

from __future__ import annotations

from enum import Enum

__all__ = ["Need"]


class Need(Enum):
    """Something that a run may hold; the value says what it is."""

    TABLE = "a variance table"
    SPECTRUM = "a spectrum"
    MATRICES = "residual matrices"
    HEAD = "a fitted head"

    def command(self, covariance: str) -> str:
        """The command that makes it."""
        return {
            Need.TABLE: "diffcov estimate-var",
            Need.SPECTRUM: "diffcov estimate-var",
            Need.MATRICES: "diffcov estimate-var --full --force",
            Need.HEAD: f"diffcov fit-var-head --kind {covariance}",
        }[self]
