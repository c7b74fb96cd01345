"""Commands of diffcov at the same time, each in a process of its own that is forked once everything is imported."""

from __future__ import annotations

import subprocess
import sys

__all__ = ["at_once"]

PROGRAM = """
import os, sys
import diffcov.study.run
from diffcov.cli.app import main
children = []
for words in sys.argv[1:]:
    pid = os.fork()
    if pid == 0:
        sys.argv = ["diffcov", *words.split("|")]
        main()
        os._exit(0)
    children.append(pid)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
print(*codes)
"""


def at_once(*commands: list[object]) -> tuple[list[int], str]:
    """Exit codes of the commands in their order, and all that they said on stderr."""
    told = ["|".join(map(str, words)) for words in commands]
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, *told], capture_output=True, text=True, timeout=300, check=False
    )
    return [int(code) for code in ended.stdout.splitlines()[-1].split()], ended.stderr
