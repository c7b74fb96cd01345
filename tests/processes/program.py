"""Several commands in one session of processes that torchrun started: each rank keeps what it said of each.

Started as ``torchrun ... program.py FOLDER``, where commands.json lists the words of each command.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from typer.testing import CliRunner

from diffcov.cli.app import app
from diffcov.processes.joined import joined

folder = Path(sys.argv[1])
with joined() as processes:
    said = []
    for words in json.loads((folder / "commands.json").read_text(encoding="utf-8")):
        result = CliRunner().invoke(app, words)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        said.append({"code": result.exit_code, "stdout": result.stdout, "stderr": result.stderr})
    (folder / f"said-{processes.rank}.json").write_text(json.dumps(said), encoding="utf-8")
