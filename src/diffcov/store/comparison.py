"""A comparison on disk: the parts that it was measured in, and its results beside them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffcov.errors import OutputError
from diffcov.store.atomic import holds_something_else, refuse_unwritable, write_bytes
from diffcov.store.parts import PartsFolder

__all__ = ["RESULT", "ComparisonFolder", "load_result"]

RESULT = "compare.json"
"""Name of the file with all numbers."""


class ComparisonFolder(PartsFolder):
    """Where one comparison lives."""

    def check_ours(self) -> None:
        """Refuse (OutputError) a folder that holds something else than a comparison, or that cannot be written."""
        if holds_something_else(self.path, (self.path / "parts").is_dir()):
            raise OutputError(f"{self.path} exists and is not a comparison (no parts/); choose another --out")
        refuse_unwritable(self.path / "parts")

    def save_json(self, result: Mapping[str, Any]) -> Path:
        """Write compare.json, which holds everything. OutputError if the file system refuses."""
        return self.save(RESULT, (json.dumps(result, indent=2, allow_nan=False) + "\n").encode())

    def save_csv(self, cells: list[dict[str, Any]]) -> Path:
        """Write compare.csv: one line a cell, empty where a value is missing. OutputError as :meth:`save_json`."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, [key for key in cells[0] if key != "times"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(cells)
        return self.save("compare.csv", text.getvalue().encode("utf-8", "backslashreplace"))

    def save(self, name: str, content: bytes) -> Path:
        """Write one result beside the parts. OutputError if the file system refuses."""
        path = self.path / name
        write_bytes(path, content)
        return path


def load_result(folder: Path) -> Any:
    """What ``compare.json`` of a comparison holds; None if there is none. ValueError if it is not JSON."""
    path = folder / RESULT
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
