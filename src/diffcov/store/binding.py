"""A table or a head is only right for the weights it was made with: refuse any other."""

from __future__ import annotations

from pathlib import Path

from diffcov.errors import InputError

__all__ = ["check_trunk"]


def check_trunk(path: Path, what: str, made_for: str, used_with: str, remedy: str) -> None:
    """Raise InputError, naming both digests and the command that mends it, unless they are equal."""
    if made_for != used_with:
        raise InputError(
            f"the {what} {path} was made for other weights (trunk {made_for[:12]}, this model is {used_with[:12]}); "
            f"make it again with: {remedy}"
        )
