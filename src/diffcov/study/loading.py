"""The shortest way in for scripts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffcov.study.run import Run

__all__ = ["load"]


def load(path: str | Path, **options: Any) -> Run:
    """The run in a directory: ``diffcov.load("runs/x").sample(steps=10)``.

    Args:
        path: the directory, as a string or a path; ``~`` is a home.
        options: those of :class:`Run`.

    Raises:
        InputError: there is no run with a mean.
    """
    run = Run(path, **options)
    run.folder.require_mean()
    return run
