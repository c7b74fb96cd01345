"""A table or a head is only right for the mean it was made with: refuse any other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffcov.errors import InputError

__all__ = ["Trunk"]


@dataclass(frozen=True)
class Trunk:
    """The mean that files of a run belong to.

    Attributes:
        digest: of its weights and of how they are read.
        earlier: of its weights alone: the first version bound files to that, since it knew one reading only. None for a
            mean with another reading, which that version could not have made.
        schedule: its schedule's spec.
        data: its images' description as plain values.
    """

    digest: str
    earlier: str | None
    schedule: dict[str, Any]
    data: dict[str, Any]

    def owns(self, made_for: str) -> bool:
        """Whether a file that was made for this digest belongs here."""
        return made_for in (self.digest, self.earlier)

    def check(self, path: Path, what: str, made_for: str, remedy: str, metadata: dict[str, Any] | None = None) -> None:
        """Refuse a file that belongs to another mean.

        Args:
            path: the file.
            what: what it is, for the message.
            made_for: the digest in it.
            remedy: the command that makes it anew.
            metadata: the file's own, where it tells schedule and data.

        Raises:
            InputError: it belongs to another one; both digests are named.
        """
        told = {key: metadata[key] for key in ("schedule", "data") if metadata is not None and key in metadata}
        own = {"schedule": self.schedule, "data": self.data}
        if not self.owns(made_for) or any(value != own[key] for key, value in told.items()):
            raise InputError(
                f"the {what} {path} was made for another mean (trunk {made_for[:12]}, this model is "
                f"{self.digest[:12]}); make it again with: {remedy}"
            )
