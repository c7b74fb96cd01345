"""Help and completion are quick: they import neither torch nor numpy."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

HEAVY = ("torch", "numpy", "PIL", "safetensors", "scipy")
PROGRAM = f"""
import sys
from diffcov.cli.app import main
try:
    main()
except SystemExit as end:
    found = [name for name in {HEAVY!r} if name in sys.modules]
    print("imported:", found, "exit:", end.code, file=sys.stderr)
"""


def imported(*args: str, **environment: str) -> tuple[str, str]:
    """(stdout, last line of stderr) of a fresh process."""
    program = [sys.executable, "-c", PROGRAM, *args]
    found = subprocess.run(program, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60)
    return found.stdout, found.stderr.splitlines()[-1]


def test_help_shows_the_four_commands_one_a_line() -> None:
    lines = [line.strip(" \u2022") for line in imported("--help")[0].splitlines()]
    order = ["train-mean", "estimate-var", "fit-var-head", "sample --steps 50"]
    where = [lines.index(f"diffcov {command}") for command in order]
    assert where == list(range(where[0], where[0] + 4))


@pytest.mark.parametrize(
    "args",
    [
        ("--help",),
        ("--version",),
        ("train-mean", "--help"),
        ("estimate-var", "--help"),
        ("fit-var-head", "--help"),
        ("sample", "--help"),
        ("evaluate", "--help"),
        ("trajectory", "--help"),
        ("compare", "--help"),
        ("inspect", "--help"),
        ("demo", "--help"),
    ],
    ids=" ".join,
)
def test_help_imports_no_torch(args: tuple[str, ...]) -> None:
    stdout, last = imported(*args)
    assert stdout
    assert last == "imported: [] exit: 0"


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("diffcov s", "sample"),
        ("diffcov sample --cov", "--covariance"),
        ("diffcov sample --covariance cor", "corrected"),
    ],
)
def test_completion_imports_no_torch_and_knows_the_registry(typed: str, offered: str) -> None:
    words = typed.split()
    stdout, last = imported(_DIFFCOV_COMPLETE="complete_bash", COMP_WORDS=typed, COMP_CWORD=str(len(words) - 1))
    assert offered in stdout.split()
    assert last == "imported: [] exit: 0"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    stdout, last = imported(_DIFFCOV_COMPLETE=f"source_{shell}")
    assert "_DIFFCOV_COMPLETE" in stdout
    assert last == "imported: [] exit: 0"


def test_the_library_imports_no_torch_until_a_name_is_used() -> None:
    program = "import sys, diffcov; print('torch' in sys.modules); diffcov.NoiseSchedule; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert found.stdout.split() == ["False", "True"]


def test_importing_the_library_changes_no_setting_of_the_process() -> None:
    ours = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    program = f"import os, diffcov; diffcov.sample; print([os.environ.get(name) for name in {ours}])"
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    found = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert found.stdout == "[None, None]\n"
