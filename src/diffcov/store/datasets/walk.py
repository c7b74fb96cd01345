"""The files at and below a folder, each once: links to what is there already are left out, and loops end."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Walk", "files_below"]


@dataclass
class Walk:
    """What lies below a folder.

    Attributes:
        names: of files, relative to it, with forward slashes, in any order.
        left_out: links, relative too, whose files are among the names already.
    """

    names: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def files_below(root: Path) -> Walk:
    """All files at and below a folder but those in hidden folders; links are followed, each file counts once.

    A file is itself by its real path. Under its own name it counts before any link to it, and of several links the
    first in the order of names does.

    Raises:
        OSError: a folder that cannot be listed.
    """
    walk, visited, real, files, folders = Walk(), set[str](), set[str](), list[str](), list[str]()

    def listed(relative: str) -> None:
        """Take what is in a folder, and in its subfolders that are no links."""
        waiting = [relative]
        while waiting:
            here = waiting.pop()
            place = os.path.realpath(root / here)
            if place in visited:  # a link led to one of its parents, or into it, before
                continue
            visited.add(place)
            with os.scandir(root / here) as entries:
                for entry in entries:
                    name = f"{here}/{entry.name}" if here else entry.name
                    if entry.is_dir():
                        if not entry.name.startswith("."):
                            (folders if entry.is_symlink() else waiting).append(name)
                    elif entry.is_symlink():
                        files.append(name)
                    else:
                        walk.names.append(name)
                        real.add(f"{place}/{entry.name}")

    listed("")
    while folders:
        folders.sort(reverse=True)
        link = folders.pop()
        if os.path.realpath(root / link) in visited:
            walk.left_out.append(link)
        else:
            listed(link)
    for link in sorted(files):
        place = os.path.realpath(root / link)
        if place in real:
            walk.left_out.append(link)
        else:
            real.add(place)
            walk.names.append(link)
    return walk
