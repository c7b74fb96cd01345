"""Work on disk in parts, one by one, so that it can go on where it stopped.

A part is a file of its own, written when it is complete, with the identity of what was measured. Asked for again under
the same identity it is read, under another it is refused (or replaced with ``force``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from diffcov.errors import InputError, OutputError
from diffcov.processes.base import current
from diffcov.store import artifact

__all__ = ["KIND", "UNFINISHED", "Part", "PartsFolder", "leaves_of"]

KIND = "comparison-part"
"""Of every part: comparisons had them first, and files that are there are called so."""
UNFINISHED = "unfinished-"
"""How names of parts begin that go when the part they belong to is complete."""


@dataclass(frozen=True)
class Part:
    """One measured part.

    Attributes:
        tensors: by name.
        values: plain values.
    """

    tensors: dict[str, Tensor]
    values: dict[str, Any]


@dataclass(frozen=True)
class PartsFolder:
    """Where the parts of one piece of work are.

    Args:
        path: the folder; it need not exist.
        force: whether a part of another identity is replaced.
    """

    path: Path
    force: bool

    def _part(self, name: str) -> Path:
        return self.path / "parts" / f"{name}.safetensors"

    def part(self, name: str, identity: Mapping[str, Any]) -> Part | None:
        """A part measured earlier under this identity, or None if there is none.

        Raises:
            OutputError: one of another identity, without ``force``; the first difference is named.
            InputError: a damaged one.
        """
        path = self._part(name)
        if not path.is_file():
            return None
        try:
            found = artifact.read(path, KIND, finite=False)
            with artifact.understanding(path):
                earlier, values = found.metadata.get("identity", {"version": None}), found.metadata["values"]
        except InputError as error:
            if self.force:
                return None
            raise InputError(f"{error}; --force measures it again") from error
        now = json.loads(json.dumps(identity))
        if earlier == now:
            return Part(found.tensors, values)
        if self.force:
            return None
        raise OutputError(
            f"{path} was measured {_difference(earlier, now)}; use --force to measure it again, or another --out"
        )

    def save_part(self, name: str, identity: Mapping[str, Any], part: Part) -> None:
        """Write a part that is complete. OutputError if the file system refuses."""
        artifact.write(self._part(name), KIND, part.tensors, {"identity": dict(identity), "values": part.values})

    def drop_part(self, name: str) -> None:
        """Remove a part that the work it was kept for has outlived; one that is not there is no matter."""
        current().once(lambda: self._part(name).unlink(missing_ok=True))

    def drop_unfinished(self) -> None:
        """Remove what was kept of parts that nobody went on with: names that begin with :data:`UNFINISHED`."""

        def drop() -> None:
            for path in (self.path / "parts").glob(f"{UNFINISHED}*"):
                path.unlink(missing_ok=True)

        current().once(drop)


def _difference(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """In which way two identities differ, by the shortest difference: short values say more."""
    before, after = leaves_of(earlier), leaves_of(now)
    unequal = {key: (before.get(key), after.get(key)) for key in {*before, *after} if before.get(key) != after.get(key)}
    if "version" in unequal or not unequal:
        return "by another version of diffcov"
    key = min(unequal, key=lambda key: (len(str(unequal[key])), key))
    inside, _, name = key.rpartition(".")
    if "made_of" in key:
        return "with another fit of the covariance"
    if inside.endswith(("images", "reference")):  # --count is that of the samples
        what = inside.rpartition(".")[2]
        name = what if name == "digest" else f"{name} of the {what}"
    change = "" if name in ("images", "reference", "mean") else " ({} -> {})".format(*unequal[key])
    return f"with {'other' if name == 'images' else 'another'} {name}{change}"


def leaves_of(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested plain values by their whole path."""
    out: dict[str, Any] = {}
    for key, value in values.items():
        inside = f"{prefix}{key}"
        out |= leaves_of(value, f"{inside}.") if isinstance(value, dict) else {inside: value}
    return out
