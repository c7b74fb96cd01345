"""Heads that were fitted over something that the run holds no more."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from diffcov.errors import DiffcovError
from diffcov.store.run import RunFolder
from diffcov.study.describe_part import Part, describe_part, made_of
from diffcov.study.listener import Listener
from diffcov.study.requests.shared import guided

__all__ = ["warn_of_stale_heads"]


def warn_of_stale_heads(run: RunFolder, now: Mapping[str, str], say: Listener) -> None:
    """Warn of the heads that were fitted over an earlier version of files that have just been written.

    Args:
        run: the run.
        now: digests of what was written, by the file's name.
        say: told which heads these are, and how they are fitted again.
    """
    parts = {kind: part for kind in run.heads() if (part := _part(run, kind)) is not None}
    stale = [
        kind for kind, part in parts.items() if any(now.get(file, made) != made for file, made in made_of(part).items())
    ]
    again: dict[float, list[str]] = {}
    for kind in stale:
        again.setdefault((parts[kind].get("settings") or {}).get("guidance", 1.0), []).append(kind)
    if stale:
        were = "was" if len(stale) == 1 else "were"
        commands = [f"diffcov fit-var-head --kind {','.join(kinds)}{guided(W)} --force" for W, kinds in again.items()]
        say.warn(
            f"{', '.join(stale)} {were} fitted over what is replaced now; fit again with: {' and '.join(commands)}"
        )


def _part(run: RunFolder, kind: str) -> Part | None:
    """What a head says of itself; None of one that cannot be read, which others say."""
    with suppress(DiffcovError):
        return describe_part(run.head(kind), None)
    return None
