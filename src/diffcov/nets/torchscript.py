"""Loading TorchScript programs, which run whatever they say: whoever calls this has been told to trust one."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import IO

import torch

__all__ = ["load_program", "reason"]


def load_program(source: Path | IO[bytes], device: torch.device | str = "cpu") -> torch.jit.ScriptModule:
    """The program of a file, on a device.

    Raises:
        RuntimeError, ValueError: it is none that this torch can load; see :func:`reason`.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.load` is (deprecated|not supported)", DeprecationWarning)
        module: torch.jit.ScriptModule = torch.jit.load(source, map_location=device)  # type: ignore[no-untyped-call]
    return module


def reason(error: Exception) -> str:
    """An error in one line; the interpreter's own stands below its traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1] if lines[0].startswith("The following operation failed") else lines[0]
