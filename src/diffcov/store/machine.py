"""What is kept with the machine and belongs to no run: fetched weights, how fast networks are, compiled code."""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffcov.digest import digest_of_values
from diffcov.store.atomic import atomic_write

__all__ = ["cache_folder", "keep_compiled_code", "processor_name", "read_ratios", "save_ratios"]

COMPILED = "TORCHINDUCTOR_CACHE_DIR"
"""Where torch keeps compiled code; unset, in the folder for temporary files, which does not outlive a restart."""


def cache_folder() -> Path:
    """The user's folder for what can be made again: $XDG_CACHE_HOME, else the platform's, and ``diffcov`` in it.

    A user without a home, as in some containers, has that for temporary files.
    """
    if named := os.environ.get("XDG_CACHE_HOME"):
        return Path(named) / "diffcov"
    try:
        home = Path.home()
    except RuntimeError:
        return Path(tempfile.gettempdir()) / "diffcov"
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "diffcov"


def keep_compiled_code() -> None:
    """Let torch keep compiled code in the user's cache, unless told where by the user; before the first compilation."""
    os.environ.setdefault(COMPILED, str(cache_folder() / "compiled"))


def processor_name() -> str:
    """The CPU's model as the kernel knows it, else as Python does."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "flags"))][:2]
    return " ".join([platform.machine(), *models[:1], digest_of_values(models)[:8]])


def read_ratios(key: Mapping[str, Any]) -> dict[str, float]:
    """What was measured under this key, by name; empty if nothing was, or if the file cannot be understood."""
    try:
        found = json.loads(_file(key).read_text(encoding="utf-8"))
        return {str(name): float(value) for name, value in found["measured"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # it is measured again


def save_ratios(key: Mapping[str, Any], measured: Mapping[str, float]) -> None:
    """Keep what was measured, with its key in clear. OutputError if the file system refuses."""
    text = json.dumps({"key": dict(key), "measured": dict(measured)}, indent=2) + "\n"
    with atomic_write(_file(key)) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _file(key: Mapping[str, Any]) -> Path:
    return cache_folder() / "calls" / f"{digest_of_values(dict(key))[:20]}.json"
