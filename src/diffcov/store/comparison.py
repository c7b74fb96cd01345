"""A comparison on disk: its measured parts one by one, so that it can go on where it stopped, and its results.

A part is a file of its own, written when it is complete, with the settings it was measured under. Asked for again under
the same settings it is read, under others it is refused (or replaced with ``force``).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from diffcov.errors import InputError, OutputError
from diffcov.store import artifact
from diffcov.store.atomic import atomic_write

__all__ = ["ComparisonFolder", "Part"]

KIND = "comparison-part"
RESULT = "compare.json"
"""Name of the file with all numbers."""


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
class ComparisonFolder:
    """Where one comparison lives.

    Args:
        path: the folder; it need not exist.
        force: whether a part of other settings is replaced.
    """

    path: Path
    force: bool

    def check_ours(self) -> None:
        """Refuse (OutputError) a folder that holds something else than a comparison: nothing of it is overwritten."""
        if (
            self.path.exists()
            and not (self.path / "parts").is_dir()
            and (not self.path.is_dir() or any(self.path.iterdir()))
        ):
            raise OutputError(f"{self.path} exists and is not a comparison (no parts/); choose another --out")

    def _part(self, name: str) -> Path:
        return self.path / "parts" / f"{name}.safetensors"

    def part(self, name: str, settings: Mapping[str, Any]) -> Part | None:
        """A part measured earlier under these settings, or None if there is none.

        Raises:
            OutputError: one of other settings, without ``force``; the first difference is named.
            InputError: a damaged one.
        """
        path = self._part(name)
        if not path.is_file():
            return None
        try:
            found = artifact.read(path, KIND, finite=False)
            with artifact.understanding(path):
                earlier, values = found.metadata["settings"], found.metadata["values"]
        except InputError as error:
            if self.force:
                return None
            raise InputError(f"{error}; --force measures it again") from error
        now = json.loads(json.dumps(settings))
        if earlier == now:
            return Part(found.tensors, values)
        if self.force:
            return None
        unequal = [key for key in {*earlier, *now} if earlier.get(key) != now.get(key)]
        differs = min(unequal, key=lambda key: (isinstance(now.get(key), dict), key))  # short values say more
        change = "" if isinstance(now.get(differs), dict) else f" ({earlier.get(differs)} -> {now.get(differs)})"
        what = {"fitted": "fit of the covariance", "measured": "version of diffcov"}.get(differs, differs)
        raise OutputError(
            f"{path} was measured with another {what}{change}; use --force to measure it again, or another --out"
        )

    def save_part(self, name: str, settings: Mapping[str, Any], part: Part) -> None:
        """Write a part that is complete. OutputError if the file system refuses."""
        artifact.write(self._part(name), KIND, part.tensors, {"settings": settings, "values": part.values})

    def save_json(self, result: Mapping[str, Any]) -> Path:
        """compare.json: everything."""
        path = self.path / RESULT
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        return path

    def save_csv(self, cells: list[dict[str, Any]]) -> Path:
        """compare.csv: one line a cell, empty where a value is missing."""
        path = self.path / "compare.csv"
        columns = [key for key in cells[0] if key != "times"]
        with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(cells)
        return path
