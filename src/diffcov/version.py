"""The version of diffcov, at the very bottom so that every file can say it."""

from __future__ import annotations

__version__ = "0.1.0"
