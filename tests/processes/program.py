"""Several commands in one session of processes that torchrun started: each rank keeps what it said of each.

Started as ``torchrun ... program.py FOLDER``, where commands.json lists the words of each command.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from typer.testing import CliRunner

from diffcov.cli.app import app
from diffcov.errors import InputError
from diffcov.processes.base import Processes, current
from diffcov.processes.joined import joined


def said(words: list[str]) -> dict[str, Any]:
    """What a command says, and its exit code; a traceback ends everything."""
    result = CliRunner().invoke(app, words)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return {"code": result.exit_code, "stdout": result.stdout, "stderr": result.stderr}


def refused(message: str) -> None:
    """Raise an error."""
    raise InputError(message)


def primitives(ours: Processes, folder: Path) -> dict[str, Any]:
    """What the ways of working together give on this rank."""
    sums = [torch.full((2, 3), 10.0**ours.rank), torch.tensor([ours.rank], dtype=torch.float64), torch.tensor(5.0)]
    ours.summed(sums)
    errors = []
    for act in (
        lambda: ours.gathered(lambda: refused("of rank 1") if ours.rank == 1 else None),
        lambda: ours.once(lambda: refused("of the first")),
    ):
        try:
            act()
        except InputError as error:
            errors.append(str(error))
    written = ours.once(lambda: (folder / "once.txt").write_text(str(ours.rank)))
    with joined() as again:
        nested = again is ours
    return {
        "shares": [[share.start, share.stop] for share in map(ours.share, (0, 1, 7))],
        "dealt": ours.dealt([1, 5, 1, 2, 2]),
        "gathered": ours.gathered(lambda: [ours.rank, current().size]),
        "from_first": ours.from_first(lambda: ours.rank),
        "agreed": ours.agreed(ours.rank / 3),
        "summed": [tensor.tolist() for tensor in sums],
        "errors": errors,
        "written": [written, (folder / "once.txt").read_text()],
        "nested": nested,
    }


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    commands = json.loads((folder / "commands.json").read_text(encoding="utf-8"))
    with joined() as processes:
        found = {"primitives": primitives(processes, folder), "commands": [said(words) for words in commands]}
        (folder / f"said-{processes.rank}.json").write_text(json.dumps(found), encoding="utf-8")
