"""Heads that were fitted over something that the run holds no more."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from diffcov.errors import DiffcovError
from diffcov.store.run import RunFolder
from diffcov.study.describe_part import describe_part, made_of
from diffcov.study.listener import Listener

__all__ = ["warn_of_stale_heads"]


def warn_of_stale_heads(run: RunFolder, now: Mapping[str, str], say: Listener) -> None:
    """Warn of the heads that were fitted over an earlier version of files that have just been written.

    Args:
        run: the run.
        now: digests of what was written, by the file's name.
        say: told which heads these are, and how they are fitted again.
    """
    over = {kind: _over(run, kind) for kind in run.heads()}
    stale = [kind for kind, files in over.items() if any(now.get(file, made) != made for file, made in files.items())]
    if stale:
        were = "was" if len(stale) == 1 else "were"
        say.warn(
            f"{', '.join(stale)} {were} fitted over what is replaced now; fit again with: diffcov fit-var-head --kind "
            f"{','.join(stale)} --force"
        )


def _over(run: RunFolder, kind: str) -> Mapping[str, str]:
    """What a head was fitted over, digests by file; nothing of one that cannot be read, which others say."""
    with suppress(DiffcovError):
        return made_of(describe_part(run.head(kind), None))
    return {}
