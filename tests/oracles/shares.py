"""Processes that know which share of the work is theirs and gather nothing: tests put their parts together."""

from __future__ import annotations

from dataclasses import dataclass

from diffcov.processes.base import Processes

__all__ = ["Half"]


@dataclass(frozen=True)
class Half(Processes):
    """One of two processes, as far as shares go."""

    rank: int
    size: int = 2
