"""What the parts of a set are of, in the file ``set.json`` beside them: parts of two sets never mix."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffcov.errors import InputError
from diffcov.store.atomic import write_bytes
from diffcov.store.parts import leaves_of

__all__ = ["RECORD", "SetRecord"]

RECORD = "set.json"


@dataclass(frozen=True)
class SetRecord:
    """The record in one folder, as a job would write it.

    Args:
        folder: where the parts are.
        said: what decides the set, as plain values.
    """

    folder: Path
    said: Mapping[str, Any]

    def kept(self) -> dict[str, Any] | None:
        """What the folder's record says; None if there is none. InputError if it is damaged."""
        try:
            found = json.loads((self.folder / RECORD).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise self.damaged(error) from error
        if not isinstance(found, dict):
            raise self.damaged(f"it holds a {type(found).__name__}")
        return found

    def is_kept(self) -> bool:
        """Whether the folder's record is this one. InputError if it is damaged."""
        return bool(self.kept() == json.loads(json.dumps(self.said)))

    def write(self) -> None:
        """Write it. OutputError if the file system refuses."""
        write_bytes(self.folder / RECORD, (json.dumps(self.said, indent=2) + "\n").encode())

    def difference(self, kept: Mapping[str, Any]) -> str:
        """The first thing in which what is kept differs, and how."""
        before, after = leaves_of(kept), leaves_of(json.loads(json.dumps(self.said)))
        key = next(key for key in [*after, *before] if before.get(key) != after.get(key))
        old, new = (str(values.get(key, "none"))[:60] for values in (before, after))
        return f"{key.removeprefix('sampler.')} is {old} there and {new} here"

    def damaged(self, why: object) -> InputError:
        """An error that says so."""
        return InputError(f"{self.folder / RECORD} is damaged ({why}); remove {self.folder} to begin anew")
